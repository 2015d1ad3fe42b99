"""Files that cannot run: what `inspect` shows of them, what loads all the same, and what the errors tell to type."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from support.hf_checkpoint import write_hf
from support.tiny_model import write_tiny_model

from spectralkv import Llama, _core
from spectralkv.cli import main
from spectralkv.convert import ConvertOptions, convert


def spectralkv(*args: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spectralkv.cli", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == status and "Traceback" not in result.stderr, result.stderr
    return result


def inspect(path: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spectralkv("inspect", path, "--json", "--tensors").stdout)
    return found


def foreign_file(path: Path) -> Path:
    """A llama file whose only tensor has a type that nobody reads."""
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_embedding_length(256)
    writer.add_context_length(128)
    writer.add_tensor("token_embd.weight", np.zeros((3, 292), np.uint8), raw_dtype=GGMLQuantizationType.Q8_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_that_runs_has_no_reasons(tiny_model: str) -> None:
    found = inspect(tiny_model)
    assert found["cannot_run"] == []
    assert found["tokenizer"] == {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": 320,
        "bos": 0,
        "eos": 2,
        "chat_template": True,
    }
    assert "cannot run" not in spectralkv("inspect", tiny_model).stdout


def test_an_unknown_architecture(make_tiny: Callable[..., str]) -> None:
    path, known = make_tiny(arch="dbrx"), make_tiny()
    found, like = inspect(path), inspect(known)
    [reason] = found["cannot_run"]
    assert "architecture 'dbrx' is not supported; supported: llama" in reason
    assert found["tensors"] == like["tensors"] and found["tokenizer"] == like["tokenizer"]
    assert found["memory"]["cache"] == like["memory"]["cache"]
    same = ("layers", "heads", "kv_heads", "head_dim", "vocabulary", "kv_cache_f16_bytes_per_token")
    assert [found["model"][name] for name in same] == [like["model"][name] for name in same]
    assert "architecture 'dbrx'" in spectralkv("inspect", path, "--check", status=1).stderr


def test_an_unknown_tokenizer_beside_a_missing_tensor(make_tiny: Callable[..., str]) -> None:
    path = Path(make_tiny(extra={"tokenizer.ggml.add_bos_token_": True}))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_ux.weight").replace(b"gpt-2", b"xyz-2"))
    reasons = "\n".join(inspect(path)["cannot_run"])
    assert "tensor 'blk.1.ffn_up.weight' is missing" in reasons and "'xyz-2'" in reasons
    assert inspect(path)["model"]["layers"] == 2 and inspect(path)["memory"]["work"] > 0


def test_unknown_weight_types(tmp_path: Path) -> None:
    path = foreign_file(tmp_path / "foreign.gguf")
    found = inspect(path)
    assert "weight types that are not supported: q8_k (1 tensor)" in found["cannot_run"][0]
    assert found["tensors"] == [{"name": "token_embd.weight", "type": "q8_k", "dims": [256, 3], "bytes": 896}]
    assert found["model"]["head_dim"] == 64 and "f16" in found["memory"]["cache"]
    assert "q8_k       1 tensor" in spectralkv("inspect", path).stdout
    with pytest.raises(ValueError, match="has weight type 15 .Q8_K., which is not supported"):
        _core.gguf_info(path)
    assert _core.gguf_info(path, any_type=True)["tensors"][0]["type"] == "q8_k"


def test_changed_bytes(make_tiny: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a file's head holds: all that can be shown, or one line that says what is damaged."""
    whole = Path(make_tiny(arch="dbrx", n_layers=1, n_vocab=270)).read_bytes()
    path, rng, shown = tmp_path / "changed.gguf", random.Random(0), 0
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 4])):
            at = rng.randrange(24, 9000)
            changed[at] = rng.choice([0, 1, 255, rng.randrange(256), changed[at] ^ 1 << rng.randrange(8)])
        path.write_bytes(changed)
        status = main(["inspect", str(path), "--json", "--tensors"])
        out, err = capfd.readouterr()
        if status == 0:
            assert json.loads(out)["cannot_run"] != []
            shown += 1
        else:
            assert status == 1 and "changed.gguf" in err and err.count("\n") == 1
    assert 30 < shown < 300


def test_a_vocabulary_alone(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf")
    [words] = convert(folder, tmp_path / "words.gguf", ConvertOptions(vocab_only=True, quiet=True))
    [reason] = inspect(words)["cannot_run"]
    assert "there are no tensors, only a vocabulary" in reason
    with pytest.raises(ValueError, match="token_embd.weight"):
        Llama(words, verbose=False)
    [whole] = convert(folder, tmp_path / "whole.gguf", ConvertOptions(quiet=True))
    with Llama(words, vocab_only=True) as llama, Llama(whole, verbose=False) as full:
        ids = full.tokenize(b"hello the", special=True)
        assert llama.tokenize(b"hello the", special=True) == ids
        assert llama.detokenize(ids) == full.detokenize(ids)
        assert (llama.n_vocab(), llama.token_bos(), llama.token_eos(), llama.n_ctx()) == (
            full.n_vocab(),
            full.token_bos(),
            full.token_eos(),
            0,
        )


@pytest.mark.parametrize("kind", ["dbrx", "llama"])
def test_vocab_only(kind: str, make_tiny: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    llama = Llama(make_tiny(arch=kind), vocab_only=True)
    assert llama.tokenize(b"hello<|im_end|>", special=True)[-1] == 2
    message = r"without weights: vocab_only=True"
    for call in (
        lambda: llama("hello"),
        lambda: llama.create_chat_completion([{"role": "user", "content": "hello"}]),
        lambda: llama.eval([1]),
        lambda: next(iter(llama.generate([1]))),
        lambda: llama.scores,
        llama.reset,
    ):
        with pytest.raises(ValueError, match=message):
            call()
    llama.close()
    assert capsys.readouterr() == ("", "")


def test_tokenize_needs_no_weights(make_tiny: Callable[..., str]) -> None:
    ids = spectralkv("tokenize", "-m", make_tiny(arch="dbrx"), "-p", "hello the", "--ids").stdout
    assert ids == spectralkv("tokenize", "-m", make_tiny(), "-p", "hello the", "--ids").stdout


def test_a_folder_or_another_file_names_the_command(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "my model")
    told = f"`spectralkv convert '{folder}' --outfile model.gguf` makes one of it"
    assert told in spectralkv("run", "-m", folder, "-p", "x", status=1).stderr
    assert told in spectralkv("inspect", folder / "model.safetensors", status=1).stderr
    with pytest.raises(OSError, match="is the folder of a checkpoint"):
        Llama(folder)
    write_tiny_model(folder / "a.gguf")
    assert f"expected a GGUF file: '{folder}/a.gguf'" in spectralkv("bench", "-m", folder, status=1).stderr
    shutil.rmtree(folder)
    folder.mkdir()
    assert "is a folder, expected a GGUF file" in spectralkv("perplexity", "-m", folder, "-f", "x", status=1).stderr


def test_files_that_hold_more_than_the_model_reads(tmp_path: Path) -> None:
    """They would run, and compute something else."""
    path = write_tiny_model(tmp_path / "less.gguf", n_layers=3)
    field = GGUFReader(path, "r+").get_field("llama.block_count")
    assert field is not None
    field.parts[field.data[0]][0] = 2
    field.parts[field.data[0]].base.flush()  # type: ignore[union-attr]
    words = "tensor 'blk.2.attn_q.weight' is not part of this kind of llama model of 2 layers"
    with pytest.raises(ValueError, match=words):
        Llama(str(path), verbose=False)
    assert words in inspect(path)["cannot_run"][0]
    assert words in spectralkv("inspect", path, "--check", status=1).stderr
