"""Models and reference data for the tests; what is missing skips with its reason."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cpp_tests import CannotBuild, CppTests
from support.tiny_model import write_tiny_model

from spectralkv import PullError, pull
from spectralkv.fetch.named import MODELS

ROOT = Path(__file__).resolve().parents[2]

# What a shell that runs this in the background, or nohup, makes ignored would be ignored by the programs under test.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(scope="session", autouse=True)
def _calibrations(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Calibrations that tests make go with the tests, not into the user's cache folder."""
    os.environ["SPECTRALKV_CALIBRATIONS"] = str(tmp_path_factory.mktemp("calibrations"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def demo_model() -> str:
    """Path of SmolLM2-135M-Instruct, from the cache folder or pulled into it."""
    try:
        return pull()
    except PullError as error:
        pytest.skip(f"no demo model: {error}")


@pytest.fixture(scope="session")
def qwen2_model() -> str:
    """Path of Qwen2.5-Coder-1.5B-Instruct as Q4_K_M: what SPECTRALKV_QWEN2 names, or what was pulled."""
    model = MODELS["qwen2.5-coder-1.5b"]
    if (path := os.environ.get("SPECTRALKV_QWEN2")) is not None:
        return path
    if not model.is_present():
        pytest.skip("no Qwen2.5-Coder-1.5B-Instruct (1.1 GB): `spectralkv pull qwen2.5-coder-1.5b` fetches it")
    return str(model.path)


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """The folder of reference results that are too large for the project."""
    path = ROOT.parent / "shared" / "reference"
    if not path.is_dir():
        pytest.skip("no reference data: ../shared/reference is missing")
    return path


@pytest.fixture(scope="session")
def llama_cpp_python() -> str:
    """An interpreter that has llama-cpp-python: what SPECTRALKV_LLAMA_CPP names, or this one."""
    given = os.environ.get("SPECTRALKV_LLAMA_CPP")
    if given is None and importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("no llama-cpp-python here, and SPECTRALKV_LLAMA_CPP names no interpreter that has it")
    return given or sys.executable


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny llama model with random weights; 320 tokens, context 256."""
    return str(write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))


@pytest.fixture
def make_tiny(tmp_path: Path) -> Callable[..., str]:
    """Writes a tiny model with changes, fields of TinyModel: make_tiny(n_heads=8, weight_type="q8_0")."""
    count = 0

    def make(**changes: object) -> str:
        nonlocal count
        count += 1
        return str(write_tiny_model(tmp_path / f"tiny{count}.gguf", **changes))

    return make


@pytest.fixture(scope="session")
def _cpp_tests(tmp_path_factory: pytest.TempPathFactory) -> CppTests:
    return CppTests(ROOT, tmp_path_factory.mktemp("cpp"))


@pytest.fixture
def cpp_programs(_cpp_tests: CppTests) -> CppTests:
    """The C++ tests and examples, built. The first test that asks tells what went wrong, the others that it did."""
    told = _cpp_tests.failed
    try:
        said = _cpp_tests.build()
    except CannotBuild as reason:
        pytest.skip(str(reason))
    if said:
        pytest.fail("the C++ sources do not build, see the first test that needs them" if told else said, pytrace=False)
    return _cpp_tests
