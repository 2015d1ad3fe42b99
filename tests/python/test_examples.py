"""The programs of examples/, each run on a tiny model."""

import re
import subprocess
import sys

import pytest
from support.cpp_tests import eigen_hint, run, tool


@pytest.fixture
def example(root, tiny_model):
    """Runs examples/NAME on the tiny model; gives what it printed."""

    def call(name, *args, stdin=""):
        command = [sys.executable, str(root / "examples" / name), "-m", tiny_model, *args]
        result = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return call


def test_all_are_run_here(root):
    assert {path.name for path in (root / "examples").glob("*.py")} == {
        "generate.py",
        "chat.py",
        "compare_cache_types.py",
        "own_evaluation.py",
    }


def test_generate(example):
    first, second = (example("generate.py", "-n", "5", "hello") for _ in range(2))
    assert first.startswith("hello")
    assert first == second


def test_chat(example):
    assert example("chat.py", "-n", "4", stdin="hello\nthe\n\nnever read\n").count("\n") >= 2
    assert example("chat.py", stdin="") == ""


def test_compare_cache_types(example, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("hello the in er on " * 40)
    said = example("compare_cache_types.py", "q4_0,block=32", "f32", "--text", str(text), "-n", "120")
    sizes = {m[1]: (int(m[2]), float(m[3])) for m in re.finditer(r"^(\S+) +(\d+) +([\d.]+)$", said, re.MULTILINE)}
    assert sizes["q4_0,block=32"][0] < sizes["f32"][0]
    assert all(perplexity > 1 for _, perplexity in sizes.values())
    assert float(re.search(r"divergence from f32: ([\d.]+);", said)[1]) > 0
    assert "divergence from f16: 0.00000; the same most probable token at 100.0 %" in example(
        "compare_cache_types.py", "f16", "--text", str(text), "-n", "50"
    )


def test_own_evaluation(example):
    said = example("own_evaluation.py", "--count", "2", "--lines", "3", "--cache", "f16", "--cache", "q8_0")
    assert re.search(r"^f16 +[012]\nq8_0 +[012]$", said, re.MULTILINE), said


def test_cpp(cpp_programs, tiny_model):
    """As the tests' build made it: with the header that others get, and no other."""
    program = cpp_programs.build_folder / "examples" / "cpp" / "example"
    result = run(program, tiny_model, "hello", "f16")
    assert result.returncode == 0, result.stderr
    assert "KiB of keys and values" in result.stderr
    failed = run(program, f"{tiny_model}.not")
    assert failed.returncode == 1
    assert "tiny.gguf.not" in failed.stderr


def test_cpp_is_a_project_of_its_own(root, tmp_path):
    cmake = tool("cmake")
    if not cmake:
        pytest.skip("no cmake (it comes with pip install '.[test]')")
    result = run(cmake, "-S", root / "examples" / "cpp", "-B", tmp_path, "-DSPECTRALKV_CUDA=OFF", *eigen_hint())
    assert result.returncode == 0, result.stderr
