"""What the converter refuses, and with which words; nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hf_checkpoint import (
    HfModel,
    byte_level_tokenizer,
    edit_json,
    hf_tensors,
    write_hf,
    write_json,
    write_safetensors,
    write_tekken,
)

from spectralkv.convert import ConvertError, ConvertOptions, convert
from spectralkv.convert.command import main
from spectralkv.convert.safetensors import SafetensorsFile

OPTIONS = ConvertOptions(outtype="f32", quiet=True)


def refuse(folder: Path, words: str, options: ConvertOptions = OPTIONS) -> None:
    target = folder.parent / "refused.gguf"
    with pytest.raises(ConvertError, match=words):
        convert(folder, target, options)
    assert [path.name for path in folder.parent.iterdir() if "refused" in path.name] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architectures": ["Qwen3MoeForCausalLM"]},
            "Qwen3MoeForCausalLM is not supported; supported: LlamaForCausalLM,.* Qwen2ForCausalLM",
        ),
        ({"architectures": ["Qwen2ForCausalLM"]}, "has no tensor 'model.layers.0.self_attn.q_proj.bias'"),
        ({"use_mrope": True}, "'use_mrope' is set: positions of several dimensions are not supported"),
        (
            {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 0},
            "'sliding_window' must be a whole number from 1",
        ),
        (
            {"architectures": ["Qwen3ForCausalLM"], "head_dim": 16},
            "has no tensor 'model.layers.0.self_attn.q_norm.weight'",
        ),
        (
            {"architectures": ["MixtralForCausalLM"], "num_local_experts": 8},
            "has no tensor 'model.layers.0.block_sparse_moe.gate.weight'",
        ),
        (
            {"architectures": ["MixtralForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 5},
            "'num_experts_per_tok' must be a whole number from 1 to 4, found 5",
        ),
        ({"num_local_experts": 4}, "'num_local_experts' is set: mixture of experts are not supported"),
        ({"architectures": ["GraniteForCausalLM"], "logits_scaling": 0}, "'logits_scaling' must be a number from 1e-6"),
        (
            {"architectures": ["GraniteForCausalLM"], "residual_multiplier": float("nan")},
            "'residual_multiplier' must be a number from 1e-6 to 1e6, found NaN",
        ),
        ({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 0]}, "'no_rope_layers' takes RoPE from other"),
        (
            {"architectures": ["SmolLM3ForCausalLM"], "no_rope_layer_interval": 3},
            "'no_rope_layers' takes RoPE from other",
        ),
        (
            {
                "architectures": ["Ministral3ForCausalLM"],
                "head_dim": 16,
                "rope_parameters": {"rope_theta": 1e4, "llama_4_scaling_beta": 0.1},
            },
            "'llama_4_scaling_beta' of RoPE goes with yarn, found none",
        ),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "'longrope' is not supported; there are default, linear"),
        ({"rope_scaling": {"rope_type": "linear", "factor": -1}}, "factor of RoPE must be a positive number"),
        ({"quantization_config": {"bits": 4}}, "quantised checkpoints are not supported"),
        ({"num_key_value_heads": 3}, "no multiple of 'num_key_value_heads' = 3"),
        ({"hidden_size": 65}, "no multiple of 4 heads"),
        ({"num_hidden_layers": 3}, "has no tensor 'model.layers.2.input_layernorm.weight'"),
        ({"num_hidden_layers": 1}, "and 8 more is not part of"),
        ({"intermediate_size": 128}, r"'model.layers.0.mlp.gate_proj.weight' is \[96, 64\], expected \[128, 64\]"),
        ({"vocab_size": ...}, "'vocab_size' is missing"),
        ({"num_attention_heads": "four"}, "must be a whole number"),
        ({"partial_rotary_factor": 0.5}, "partly rotated"),
    ],
)
def test_configurations(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    edit_json(folder / "config.json", **changes)
    refuse(folder, words)


def test_missing_files(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m", shards=3)
    shard = folder / "model-00002-of-00003.safetensors"
    kept = shard.read_bytes()
    shard.unlink()
    refuse(folder, r"model-00002-of-00003.safetensors is missing: model.safetensors.index.json names it \(3 shards")
    (folder / "model.safetensors.index.json").unlink()
    refuse(folder, r"model-00002-of-00003.safetensors is missing \(2 of 3 shards")
    shard.write_bytes(kept[:-100])
    refuse(folder, "is the download complete")
    shard.write_bytes(b"\xff" * 100)
    refuse(folder, "is no safetensors file")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    refuse(folder, "has no model.safetensors")
    (folder / "tokenizer.json").unlink()
    refuse(folder, "no tokenizer that is understood.*tokenizer_config.json")
    (folder / "config.json").unlink()
    refuse(folder, "neither config.json")
    refuse(tmp_path / "nowhere", "is no folder")


@pytest.mark.parametrize(
    ("value", "outtype", "words"), [(np.nan, "f32", "nan"), (np.inf, "q8_0", "inf"), (1e6, "f16", "1e")]
)
def test_weights_that_make_no_sense(value: float, outtype: str, words: str, tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    tensors = hf_tensors(HfModel())
    tensors["model.layers.1.mlp.up_proj.weight"][5, 7] = value
    write_safetensors(folder / "model.safetensors", tensors)
    words = f"tensor 'model.layers.1.mlp.up_proj.weight' of .*model.safetensors', row 5, column 7: the value .*{words}"
    refuse(folder, words, ConvertOptions(outtype=outtype, quiet=True))


def test_every_truncation_of_a_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ConvertError):
            SafetensorsFile(path)
    rng = np.random.default_rng(0)
    for _ in range(500):  # other bytes: an error or a table, and never anything else
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            changed[at] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            SafetensorsFile(path)
        except ConvertError:
            continue


def test_tokenizers_that_are_not_understood(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    good = byte_level_tokenizer(320)
    split = {"type": "Split", "pattern": {"Regex": "mystery"}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    for change, words in (
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}, "mystery.*known are those of bloom"),
        ({"normalizer": {"type": "NFKC"}}, "a normalizer other than NFC is not supported.*NFKC"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "neither byte-level BPE"),
        ({"model": {"type": "Unigram", "vocab": []}}, "'Unigram' is not supported"),
        ({"post_processor": {"type": "BertProcessing"}}, "post_processor is not understood"),
        ({"model": good["model"] | {"vocab": good["model"]["vocab"] | {"more": 400}}}, "401 tokens.*320 rows"),
    ):
        write_json(folder / "tokenizer.json", good | change)
        refuse(folder, words)
    (folder / "tokenizer.json").unlink()
    write_tekken(folder / "tekken.json", [bytes([i]) for i in range(256)], 64, pattern="other")
    refuse(folder, "not tekken's: 'other'")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = write_hf(tmp_path / "m"), tmp_path / "out.gguf"
    target.write_text("precious")
    assert main([str(folder), "--outfile", str(target)]) == 1
    assert "exists; --force replaces it" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert main([str(folder), "--outfile", str(target), "--dry-run", "--force"]) == 0
    assert target.read_text() == "precious"
    assert main([str(folder), "--outfile", str(target), "--force"]) == 0
    assert target.read_bytes()[:4] == b"GGUF"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on file sizes stands in for the disk's end."""
    folder, target = write_hf(tmp_path / "m"), tmp_path / "out.gguf"
    target.write_text("old")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000));"
        "from spectralkv.convert.command import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(folder), "--outfile", str(target), "--force"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "out.gguf could not be written" in result.stderr and "Traceback" not in result.stderr
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


def test_sizes_of_parts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--split-max-size", "much"])


def test_config_that_is_no_json(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps([1]))
    refuse(folder, "holds a list, expected an object")
    (folder / "config.json").write_text("{")
    refuse(folder, "is no JSON")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, r"\(GPTQ, 4 bits\).*`spectralkv quantize`"),
        ({"quant_method": "awq", "bits": 4}, r"\(AWQ, 4 bits\)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"\(bitsandbytes\)"),
        ({"quant_method": "fresh\nmethod"}, r'\("fresh\\nmethod"\)'),
        ({"group_size": 64, "bits": 8}, r"\(MLX, 8 bits\)"),
    ],
)
def test_quantised_checkpoints_are_refused_by_name(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    edit_json(folder / "config.json", quantization_config=settings)
    refuse(folder, words)


@pytest.mark.parametrize(("name", "method"), [("quantize_config.json", "GPTQ"), ("quant_config.json", "AWQ")])
def test_older_quantised_checkpoints(name: str, method: str, tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    (folder / name).write_text("{}")
    refuse(folder, f"{name}: quantised checkpoints are not supported, and this one is \\({method}\\)")


def test_pickles_are_refused_with_the_safe_way(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "my model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 an archive")
    quoted = f"'{folder}' '{folder}-safetensors'"
    refuse(folder, f"but pytorch_model.bin: PyTorch's pickle.*python -c .*save_pretrained.* {quoted}")
    refuse(folder / "pytorch_model.bin", "PyTorch's pickle")
    [words] = convert(folder, tmp_path / "words.gguf", ConvertOptions(vocab_only=True, quiet=True))
    assert words.exists()  # which needs no weights


def test_a_file_that_is_named_like_a_pickle(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "state.bin").write_bytes(b"a prompt cache")
    refuse(folder, "^(?!.*pickle).* has neither config.json")


def test_adapters_and_other_files(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    refuse(folder / "model.safetensors", f"expected its folder: spectralkv convert {folder}")
    refuse(folder / "config.json", "is no folder")
    [path] = convert(folder, tmp_path / "gguf.gguf", OPTIONS)
    refuse(path, "is a GGUF file already; `spectralkv quantize`")
    (tmp_path / "only").mkdir()
    path.rename(tmp_path / "only" / "a.gguf")
    refuse(tmp_path / "only", f"holds GGUF files already: run one with -m {tmp_path}/only/a.gguf")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    refuse(folder, "is an adapter .LoRA., not a model: merge it")


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("base_model.model.", "saved inside of peft's; merge it"),
        ("_orig_mod.", "saved inside of torch.compile's"),
        ("module.", "saved inside of DistributedDataParallel"),
    ],
)
def test_names_of_wrappers(prefix: str, words: str, tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    tensors = {prefix + name: value for name, value in hf_tensors(HfModel()).items()}
    write_safetensors(folder / "model.safetensors", tensors)
    refuse(folder, f"tensor '{prefix}.* begins with {prefix}: the model was {words}")


def test_double_precision_gets_a_hint_that_fits(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    path = folder / "model.safetensors"
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    for entry in header.values():
        entry["dtype"] = "F64"
        entry["data_offsets"] = [2 * offset for offset in entry["data_offsets"]]
    text = json.dumps(header).encode()
    size = max(entry["data_offsets"][1] for entry in header.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    refuse(folder, "has type F64; f32, f16 and bf16 are supported, save the checkpoint in one of them")


def test_metas_own_files(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "consolidated.00.pth")
    refuse(folder, "Meta's own files .*convert_llama_weights_to_hf --input_dir")
    refuse(folder / "consolidated.00.pth", "one of Meta's own files: .*convert_llama_weights_to_hf --input_dir")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "README.md"])
@pytest.mark.parametrize("linked", [False, True])
def test_pipes_are_not_waited_for(name: str, linked: bool, tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "m")
    (folder / name).unlink(missing_ok=True)
    if linked:
        os.mkfifo(tmp_path / "pipe")
        (folder / name).symlink_to(tmp_path / "pipe")
    else:
        os.mkfifo(folder / name)
    refuse(folder, f"{name} is no regular file")
