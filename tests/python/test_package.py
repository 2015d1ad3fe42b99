"""What is installed: complete, typed, and importable with its declared dependencies alone."""

import importlib.metadata
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

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
    assert declared == {"numpy", "jinja2", "tqdm", "gguf"}
    # Imports everything with every other third-party package hidden; gguf only convert and quantize need, as they run.
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
    assert "pip install 'spectralkv[hf]'" in result.stderr


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
