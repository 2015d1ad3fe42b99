"""llama.cpp's own vocabulary files and the tokens that it keeps beside them.

They are in the source package of llama-cpp-python, in vendor/llama.cpp/models. The environment variable
SPECTRALKV_VOCABULARIES names that folder, once `pip download --no-deps --no-binary :all: llama-cpp-python` (77 MB) is
unpacked.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.splits import texts
from test_pretokenizers_llama_cpp import check_same, llama_cpp_tokens

from spectralkv import _core

REFUSED = {"bert-bge": "WordPiece", "gemma-4": "BPE over UTF-8", "nomic-bert-moe": "Unigram"}
NAMES = (
    *("aquila", "baichuan", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "gpt-neox", "llama-bpe"),
    *("llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"),
)
BETWEEN = "\n__ggml_vocab_test__\n"


@pytest.fixture(scope="module")
def vocabularies() -> Path:
    given = os.environ.get("SPECTRALKV_VOCABULARIES")
    if given is None:
        pytest.skip("SPECTRALKV_VOCABULARIES names no folder of llama.cpp's vocabulary files")
    return Path(given)


def file_of(folder: Path, name: str) -> Path:
    path = folder / f"ggml-vocab-{name}.gguf"
    if not path.exists():
        pytest.skip(f"{folder} has no {path.name}")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_kept_tokens(name: str, vocabularies: Path) -> None:
    path = file_of(vocabularies, name)
    given, kept = Path(f"{path}.inp"), Path(f"{path}.out")
    if not kept.exists():
        pytest.skip(f"{path.name} comes without tokens")
    own = _core.Tokenizer.from_file(path)
    cases = given.read_bytes().decode().split(BETWEEN)
    expected = [[int(token) for token in line.split()] for line in kept.read_text().split("\n")]
    for text, ids in zip(cases, expected[: len(cases)], strict=True):
        assert own.encode(text.encode(), False, False) == ids, text


@pytest.mark.parametrize("name", NAMES)
def test_beside_llama_cpp(name: str, vocabularies: Path, llama_cpp_python: str, tmp_path: Path) -> None:
    """On more texts, with BOS and EOS as each file has it. By the name of the model llama.cpp drops white space behind
    special tokens of phi-3, which is no architecture that runs here: of that file no special tokens are read."""
    path = file_of(vocabularies, name)
    for special in (True, False) if name != "phi-3" else (False,):
        given = list(texts(f"{name} {special}", 1000))
        [expected] = llama_cpp_tokens(llama_cpp_python, [path], given, tmp_path, special)
        check_same(path, given, expected, special)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_named(name: str, vocabularies: Path) -> None:
    with pytest.raises(ValueError, match=f"{REFUSED[name]}.* is not supported; supported are gpt2"):
        _core.Tokenizer.from_file(file_of(vocabularies, name))
