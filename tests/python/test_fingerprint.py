"""The fingerprint by which a program knows a CUDA library of its own build (cuda/fingerprint.cmake)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def fingerprint(tree: Path) -> str:
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake (it comes with pip install '.[test]')")
    command = [cmake, "-P", str(tree / "cuda" / "fingerprint.cmake")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return result.stdout.strip()


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Path:
    for folder in ("cpp", "cuda"):
        shutil.copytree(root / folder, tmp_path / folder)
    return tmp_path


def test_what_the_library_compiles_changes_it(tree: Path) -> None:
    first = fingerprint(tree)
    assert len(first) == 12 and fingerprint(tree) == first
    for name in ("backend/backend.h", "backend/plugin.h", "tensor/dtype.h", "formats/list.def", "formats/q4_0.inl"):
        path = tree / "cpp" / name
        text = path.read_text()
        path.write_text(text + "// another line\n")
        assert fingerprint(tree) != first, name
        path.write_text(text)
    assert fingerprint(tree) == first


def test_types_in_another_order_change_it(tree: Path) -> None:
    first = fingerprint(tree)
    path = tree / "cpp" / "formats" / "list.def"
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], last, lines[-1]]) + "\n")
    assert fingerprint(tree) != first


def test_other_files_do_not(tree: Path) -> None:
    first = fingerprint(tree)
    for name in ("cpp/tensor/dtype.cc", "cpp/cli/cli.h", "cuda/plugin.cu"):
        (tree / name).write_text((tree / name).read_text() + "// another line\n")
    assert fingerprint(tree) == first
