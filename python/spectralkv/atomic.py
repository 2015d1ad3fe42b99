"""Files that are whole, old or new, at any time: as the core's AtomicFile makes them, for what Python writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

MARK = ".tmp-"  # and 16 digits, behind the target's name
LONGEST = 200  # bytes of the target's name that a temporary one takes; 255 are possible
TRIES, LINKS = 100, 40
SYNC_FAILS = (errno.EIO, errno.ENOSPC)  # other reasons why a folder cannot be synced are no failures


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that name no file, as those of writing and closing, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def destination(path: Path) -> Path:
    """Where a file of this name is written: what links lead to, be it there or not. OSError for a folder, for what is
    no regular file, and for a file that may not be written."""
    target = path
    for _ in range(LINKS):
        if not target.is_symlink():
            break
        target = target.parent / os.readlink(target)
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file, and only those are written", os.fspath(path))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return target


def take_place(part: Path, target: Path) -> None:
    """Gives a file that is whole the name `target`, a destination, and the mode of what has it now."""
    with naming(target):
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _keep_mode(descriptor, target)
            os.fsync(descriptor)
            os.replace(part, target)
        finally:
            os.close(descriptor)
        _sync_folder(target.parent)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to fill, which takes the place of `path` when the block ends well, and goes otherwise."""
    target = destination(path)
    with (
        naming(path),
        _temporary(target, _make_file, os.unlink) as (part, descriptor),
        os.fdopen(os.dup(descriptor), "wb") as file,
    ):
        yield file
        file.flush()
        take_place(part, target)


@contextlib.contextmanager
def part_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside a destination for what is to take its place; it goes at the end, with what is in it."""
    with _temporary(target, _make_folder, _remove_folder) as (part, _):
        yield part


def write_whole(path: Path, data: bytes) -> None:
    """Makes these bytes the file's."""
    with whole_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def _temporary(target: Path, make: Callable[[Path], int], remove: Callable[[Path], None]) -> Iterator[tuple[Path, int]]:
    """Something of a name of its own beside the target, locked as long as its maker lives."""
    start = os.fsdecode(os.fsencode(target.name)[:LONGEST]) + MARK
    _remove_left_over(target.parent, start)
    for _ in range(TRIES):
        part = target.with_name(start + secrets.token_hex(8))
        descriptor, ours = -1, True
        try:  # a signal may come as soon as it is there
            try:
                descriptor = make(part)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except FileExistsError:
                ours = False
                continue
            except FileNotFoundError:  # a folder that was taken for a left-over before it was opened
                if not target.parent.is_dir():
                    raise
                continue
            if not _has_name(descriptor, part):
                continue
            yield part, descriptor
            return
        finally:
            if ours:
                with contextlib.suppress(OSError):
                    remove(part)
            if descriptor >= 0:
                os.close(descriptor)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))


def _make_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _make_folder(path: Path) -> int:
    path.mkdir(mode=0o700)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_left_over(folder: Path, start: str) -> None:
    """What killed processes have left: its maker holds a lock as long as it lives, in whatever container."""
    pattern = re.compile(re.escape(start) + "[0-9a-f]{16}")
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if not pattern.fullmatch(name):
            continue
        path = folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _has_name(descriptor, path):
                (_remove_folder if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.unlink)(path)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _keep_mode(descriptor: int, target: Path) -> None:
    """As the file that is replaced."""
    try:
        there = target.stat()
    except FileNotFoundError:
        return
    own, mode = os.fstat(descriptor), there.st_mode & 0o777
    if there.st_gid != own.st_gid:
        try:
            os.fchown(descriptor, -1, there.st_gid)
        except OSError:  # the group that takes its place gets what everybody has
            mode = (mode & ~0o070) | ((mode & 0o007) << 3)
    if there.st_uid != own.st_uid:
        with contextlib.suppress(OSError):
            os.fchown(descriptor, there.st_uid, -1)
    os.fchmod(descriptor, mode)


def _sync_folder(folder: Path) -> None:
    """Makes a new name last through a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in SYNC_FAILS:
            raise
    finally:
        os.close(descriptor)
