"""What is installed: complete, typed, and importable with its declared dependencies alone."""

import importlib.metadata
import importlib.resources
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import spectralkv


def test_version_is_one():
    assert importlib.metadata.version("spectralkv") == spectralkv.__version__


def test_stub_and_marker_are_installed():
    names = {Path(str(f)).name for f in importlib.metadata.files("spectralkv") or []}
    assert {"_core.pyi", "py.typed", "__init__.py"} <= names
    assert any(name.startswith("_core.") and name.endswith(".so") for name in names)


def test_declared_dependencies_are_few_and_enough():
    declared = {
        re.match(r"[\w-]+", line).group()
        for line in importlib.metadata.requires("spectralkv") or []
        if "extra ==" not in line
    }
    assert declared == {"numpy", "jinja2", "tqdm", "gguf", "prompt_toolkit"}
    # Imports everything with every other third-party package hidden: gguf and prompt_toolkit wait until needed.
    script = """
        import sys
        allowed = {"numpy", "jinja2", "markupsafe", "tqdm", "spectralkv"}
        class Hide:
            def find_spec(self, name, path=None, target=None):
                top = name.partition(".")[0]
                if top in allowed or top in sys.stdlib_module_names or top.startswith("_"):
                    return None
                raise ModuleNotFoundError(f"hidden: {name}", name=name)
        sys.meta_path.insert(0, Hide())
        import spectralkv, spectralkv.cli, spectralkv.spectral, spectralkv.quant, spectralkv.convert
        print(spectralkv.Llama.__name__)
    """
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in script.splitlines())], capture_output=True, text=True
    )
    assert result.stdout == "Llama\n", result.stderr


def test_the_bridge_says_what_it_needs():
    """spectralkv.hf without torch, as on a machine that has none."""
    script = "import sys; sys.modules['torch'] = None; import spectralkv.hf"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 1
    assert "ImportError: spectralkv.hf needs torch and transformers 4.56 or later" in result.stderr
    assert "pip install 'torch>=" in result.stderr


def test_without_the_gil_the_module_refuses():
    """As a free-threaded interpreter with PYTHON_GIL=0 says."""
    script = "import sys; sys._is_gil_enabled = lambda: {}; import spectralkv; spectralkv.__version__"
    refused, fine = (
        subprocess.run([sys.executable, "-c", script.format(on)], capture_output=True, text=True)
        for on in (False, True)
    )
    assert refused.returncode == 1 and "ImportError: spectralkv needs the GIL" in refused.stderr
    assert fine.returncode == 0, fine.stderr


def test_every_public_name_has_a_docstring():
    missing = []
    for name in spectralkv.__all__:
        item = getattr(spectralkv, name)
        if callable(item) and not item.__doc__:
            missing.append(name)
        if isinstance(item, type):
            for attribute, value in vars(item).items():
                target = value.fget if isinstance(value, property) else value
                if not attribute.startswith("_") and callable(target) and not target.__doc__:
                    missing.append(f"{name}.{attribute}")
    assert missing == []


COMMANDS = (["convert"], ["quantize"], ["eval"], ["eval", "needle"], ["eval", "memory"], ["serve"], ["pull"], [])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_end_quietly_when_their_reader_is_gone(command):
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "spectralkv.cli", *command, "--help"]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # else argparse meets the error, and passes over it
    result = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_a_measurement_ends_quietly_when_its_reader_is_gone(tiny_model, tmp_path):
    (tmp_path / "text").write_text("hello the tin " * 100)
    reader, writer = os.pipe()
    os.close(reader)
    words = ["eval", "memory", "-m", tiny_model, "-f", str(tmp_path / "text"), "--contexts", "64", "--cache", "f16"]
    command = [sys.executable, "-m", "spectralkv.cli", *words]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_hints_name_packages():
    """The package is nowhere published: its own name would lead nowhere, or elsewhere."""
    from spectralkv.extras import install_hint

    for extra in ("plot", "eval", "hub", "grammar", "serve", "hf"):
        assert re.fullmatch(r"pip install( '[a-zA-Z_-]+>=[0-9.]+')+", install_hint(extra))
    assert "'llguidance>=" in install_hint("serve")
    assert install_hint("no such extra") == "pip install '.[no such extra]' in the project's folder"


def test_the_help_of_needle_has_limits_and_defaults():
    command = [sys.executable, "-m", "spectralkv.cli", "eval", "needle", "--help"]
    text = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "4 to 1000: a text may have 4 needles (default: 10)" in text
    for default in ("512,1024,2048", "100", "niah_single_1,niah_multikey_1", "512"):
        assert f"(default: {default})" in text


def test_the_same_merge_is_named_in_every_run():
    script = """
        from spectralkv.convert.merges import first_difference
        tokens = [chr(97 + i) + chr(97 + i) for i in range(20)]
        vocab = {t: i for i, t in enumerate([*"abcdefghijklmnopqrst", *tokens, *(t + t for t in tokens)])}
        pairs = [(t[0], t[1]) for t in tokens] + [(t + t[0], t[0]) for t in tokens]
        print(first_difference(vocab, pairs))
    """
    code = textwrap.dedent(script)
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(seed)}, capture_output=True
        ).stdout
        for seed in range(4)
    }
    assert said == {b"'aa' and 'aa' are tokens, as is 'aaaa', but they are no merge\n"}
