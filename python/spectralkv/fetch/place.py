"""Where fetched models lie: the cache folder, its locks, and the step from a partial file to a whole one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from spectralkv.atomic import take_place
from spectralkv.fetch.errors import PullError

CHUNK = 1 << 20
MAGIC = b"GGUF"
SPLIT = re.compile(r"-([0-9]{5})-of-([0-9]{5})\.gguf$")


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/spectralkv, by default ~/.cache/spectralkv; a relative XDG path does not count."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "spectralkv"
    try:
        return Path.home() / ".cache" / "spectralkv"
    except RuntimeError as error:  # a user without a name and without $HOME
        raise PullError(f"[pull] no folder for models: {error} Set XDG_CACHE_HOME") from error


def part_of(path: Path) -> Path:
    """The name of a file that is not whole yet."""
    return path.with_name(f"{path.name}.part")


def part_names(name: str) -> list[str]:
    """The names of all parts of a split model, NAME-00001-of-00003.gguf and so on, of which `name` is one; of any other
    file its own."""
    found = SPLIT.search(name)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        return [name]
    stem, count = name[: found.start()], int(found[2])
    return [f"{stem}-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)]


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[bool]:
    """Holds the lock file, which is gone afterwards; gives True when it had to wait for another process. The lock goes
    with the process."""
    waited = False
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                print(f"another process is fetching {what}: waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file.fileno()):  # who had it before has removed it: the lock is of no file
                continue
            try:
                yield waited
            finally:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def storing(folder: Path, kept: str = "") -> Iterator[None]:
    """Makes what the disk refuses a PullError; kept: what to say of a partial file that stays."""
    try:
        yield
    except OSError as error:
        raise PullError(f"[pull] cannot store in {folder}: {error.strerror or error}{kept}") from error


def need_space(folder: Path, nbytes: int) -> None:
    """Before a long download: PullError where the disk has no room for its end."""
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise PullError(f"[pull] cannot store in {folder}: it takes {nbytes} more bytes, {free} are free")


def sha256_of(path: Path) -> str:
    """Of a whole file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def check_magic(head: bytes, source: str) -> None:
    """PullError where a file's first bytes are not those of a GGUF file; a page of HTML is named."""
    if head[: len(MAGIC)] == MAGIC:
        return
    if head.lstrip()[:1] == b"<":
        hint = "; the address of a file has /resolve/ in the place of /blob/" if "/blob/" in source else ""
        raise PullError(f"[pull] {source} gives a web page, not a GGUF file{hint}")
    raise PullError(f"[pull] {source} gives no GGUF file: it starts with {head[:4]!r}")


def finish(part: Path, path: Path) -> None:
    """The partial file is whole: it reaches the disk and gets its name, a destination."""
    take_place(part, path)


def on_terminal() -> bool:
    """Whether a bar has somebody to look at it."""
    return sys.stderr is not None and sys.stderr.isatty()
