"""What people give to `convert` and it does not take, by name, and what helps in its place."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import shown

PICKLES = (".bin", ".pth", ".pt", ".ckpt")
PICKLE_REASON = (
    "PyTorch's pickle files are not read, since whoever wrote one decides what code runs when it is opened; make "
    "safetensors of it with a current transformers, which opens them without running any:"
)
OTHER_PICKLES = ("training_args.bin", "optimizer.pt")  # beside a model's weights
META = re.compile(r"consolidated\.\d+\.pth")
META_WAY = (
    "make a checkpoint of transformers' form of them, `python -m transformers.models.llama.convert_llama_weights_to_hf "
    "--input_dir DIR --model_size SIZE --llama_version VERSION --output_dir FOLDER` (it opens them with weights_only), "
    "and convert that folder"
)
METHODS = {  # quant_method of config.json, and how its makers write it
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "fp8": "FP8",
    "fbgemm_fp8": "FP8",
    "compressed-tensors": "compressed-tensors",
    "mxfp4": "MXFP4",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "exl2": "EXL2",
}


def check_folder(source: Path, vocab_only: bool) -> None:
    """ConvertError for what is no checkpoint's folder, or has weights that are not read."""
    if source.is_file():
        raise ConvertError(_about_file(source))
    if not source.is_dir():
        raise ConvertError(f"{source} is no folder, expected that of a checkpoint")
    names = sorted(path.name for path in source.iterdir())
    weights = [n for n in names if n.endswith(".safetensors") and not n.startswith("adapter_")]
    if "adapter_config.json" in names and not weights:
        raise ConvertError(
            f"{source} is an adapter (LoRA), not a model: merge it into its base model with peft "
            "(PeftModel.from_pretrained(...).merge_and_unload().save_pretrained(FOLDER)), and convert that folder"
        )
    ggufs = [n for n in names if n.endswith(".gguf")]
    if ggufs and not weights and "config.json" not in names and "params.json" not in names:
        raise ConvertError(
            f"{source} holds GGUF files already: run one with -m {shlex.quote(str(source / ggufs[0]))}, or write it in "
            "another type with `spectralkv quantize`"
        )
    odd = [n for n in names if not (source / n).is_file() and not (source / n).is_dir() and (source / n).exists()]
    if odd:  # reading a pipe would wait for ever
        raise ConvertError(f"{source / odd[0]} is no regular file")
    if not weights and not vocab_only and any(META.fullmatch(n) for n in names):
        raise ConvertError(f"{source} has Meta's own files (consolidated.00.pth): {META_WAY}")
    pickles = [n for n in names if Path(n).suffix in PICKLES and n not in OTHER_PICKLES and _is_pickle(source / n)]
    if pickles and not weights and not vocab_only:
        raise ConvertError(f"{source} has no safetensors, but {pickles[0]}: {PICKLE_REASON} {_save_again(source)}")


def _is_pickle(path: Path) -> bool:
    """By its first bytes: a zip archive, as torch.save writes, or a bare pickle."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4)
    return head.startswith((b"PK\x03\x04", b"\x80"))


def _about_file(source: Path) -> str:
    folder = shlex.quote(str(source.parent))
    if source.suffix == ".safetensors":
        return f"{source} is one file of a checkpoint, expected its folder: spectralkv convert {folder}"
    if source.suffix == ".gguf":
        return f"{source} is a GGUF file already; `spectralkv quantize` writes it in another type"
    if META.fullmatch(source.name):
        return f"{source} is one of Meta's own files: {META_WAY}"
    if source.suffix in PICKLES:
        return f"{source}: {PICKLE_REASON} {_save_again(source.parent)}"
    return f"{source} is no folder, expected that of a checkpoint"


def _save_again(folder: Path) -> str:
    """The command that writes a checkpoint anew, in its own type."""
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        "M.from_pretrained(sys.argv[1], dtype='auto').save_pretrained(sys.argv[2]); "
        "T.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])"
    )
    return f'python -c "{code}" {shlex.quote(str(folder))} {shlex.quote(f"{folder}-safetensors")}'


def check_weights(config: dict[str, Any], source: Path, path: Path) -> None:
    """ConvertError for a checkpoint whose weights are quantised; path: of its config.json."""
    given = config.get("quantization_config")
    if not given:
        given = config.get("quantization")  # MLX, and Mistral's own files
    name = ""
    if given and isinstance(given, dict):
        method = str(given.get("quant_method", ""))
        name = METHODS.get(method.lower()) or (shown(method) if method else "MLX" if "group_size" in given else "")
        name = name or "its method is not named"
        if type(given.get("bits")) is int:
            name += f", {given['bits']} bits"
    elif given:
        name = shown(given)
    else:
        for file, method in (("quantize_config.json", "GPTQ"), ("quant_config.json", "AWQ")):
            if (source / file).exists():
                name, path = method, source / file
    if name:
        raise ConvertError(
            f"{path}: quantised checkpoints are not supported, and this one is ({name}); convert the one that it was "
            "made from, and make it small with `spectralkv quantize`"
        )
