"""A client's file checked by mypy against the installed stubs."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")

RIGHT = """
    import numpy as np
    from numpy.typing import NDArray

    from spectralkv import Llama, _core
    from spectralkv.quant import lloyd_max
    from spectralkv.spectral import eoptshrink

    with Llama("model.gguf", n_ctx=0, type_k="f16", logits_all=True) as llama:
        tokens: list[int] = llama.tokenize(b"text")
        text: bytes = llama.detokenize(tokens)
        scores: NDArray[np.float32] = llama.scores
        for token in llama.generate(tokens, temp=0.0):
            number: int = token
        result = llama("text", max_tokens=3)
        if isinstance(result, dict):
            choices = result["choices"]
    engine = _core.Engine("model.gguf", n_threads=2)
    session = _core.Session(engine, n_ctx=32)
    generation = _core.Generation(session, _core.SamplingOptions(temperature=0.0), max_tokens=4)
    step = generation.next()
    if step is not None:
        piece: bytes = step.bytes
    rank: int = eoptshrink(np.zeros((128, 64))).rank
    levels, distortion = lloyd_max(64, 2)
"""

WRONG = """
    from spectralkv import Llama, _core

    llama = Llama("model.gguf", n_ctx="large")
    llama.tokenize("text")
    _core.Engine(3)
    _core.SamplingOptions(temperature="hot")
"""


def mypy(folder, source):
    path = folder / "client.py"
    path.write_text(textwrap.dedent(source))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder), str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_right_use_passes(tmp_path):
    result = mypy(tmp_path, RIGHT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_wrong_use_is_found(tmp_path):
    found = mypy(tmp_path, WRONG).stdout
    for line in (4, 5, 6, 7):
        assert f"client.py:{line}: error" in found.replace("\\", "/"), found
