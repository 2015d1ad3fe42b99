"""Writes GGUF files tensor by tensor with the `gguf` package: under a temporary name, whole or not at all."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from spectralkv import _core
from spectralkv.atomic import destination, part_folder, take_place
from spectralkv.mapped import Bytes

if TYPE_CHECKING:
    from gguf import GGUFWriter

PIECE = 1 << 20  # bytes of one write
SYNC = 64 << 20  # bytes between two orders to the disk to begin
SIZE = re.compile(r"(\d+)([KMG]?)B?", re.IGNORECASE)


class OutputError(OSError):
    """The file could not be written; the message names it and says why."""


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to write. shape: row length last. load() gives its bytes in type_name, done() frees what it read.
    origin: descriptor and offset of a file that has these very bytes, if one has."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    load: Callable[[], Bytes]
    done: Callable[[], None] = lambda: None
    origin: tuple[int, int] | None = None

    @property
    def nbytes(self) -> int:
        return bytes_of(self.type_name, self.shape)


@dataclass(frozen=True)
class OutputOptions:
    """force: replace what is there. split_max_size: bytes of tensors in one file, 0: no limit. quiet: no progress.
    sources: files that are read, and are never replaced."""

    force: bool = False
    split_max_size: int = 0
    quiet: bool = False
    sources: tuple[Path, ...] = ()


def bytes_of(type_name: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor of this shape, whose last dimension is a multiple of the type's block."""
    _, block_values, block_bytes = _core.weight_types()[type_name]
    return math.prod(shape) // block_values * block_bytes


def parse_size(text: str) -> int:
    """Bytes of "2G", "500M", "4096"; K, M and G are powers of 1000, as for llama.cpp's converter. Else ValueError."""
    match = SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"expected a size like 500M or 2G, got {text!r}")
    unit: int = 1000 ** " KMG".index(match[2].upper() or " ")
    return int(match[1]) * unit


def human_bytes(n: float) -> str:
    """ "1.24 GiB"."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.2f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"


def printable(text: str) -> str:
    """The text with U+FFFD for the bytes of names that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def shard_names(path: Path, tensors: Sequence[OutputTensor], split_max_size: int) -> list[Path]:
    """The files that will be written: path itself, or its parts."""
    parts, held = 1, 0
    for number, tensor in enumerate(tensors):
        if split_max_size and number and held and held + tensor.nbytes > split_max_size:
            parts, held = parts + 1, 0
        held += tensor.nbytes
    if not split_max_size or parts == 1:
        return [path]
    stem = path.with_suffix("") if path.suffix == ".gguf" else path
    return [Path(f"{stem}-{i + 1:05d}-of-{parts:05d}.gguf") for i in range(parts)]


def check_target(paths: Iterable[Path], force: bool, sources: Iterable[Path]) -> None:
    """FileExistsError when a file is there and must not be replaced, OutputError when it is one of `sources`."""
    read = {(status.st_dev, status.st_ino) for status in (path.stat() for path in sources if path.exists())}
    for path in paths:
        if path.exists() and (path.stat().st_dev, path.stat().st_ino) in read:
            raise OutputError(f"{path} is a file to read: give another name")
        if path.is_dir():
            raise OutputError(f"{path} is a folder, expected the name of a file")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is no regular file, and only those are written")
        if os.path.lexists(path) and not force:  # also a link that leads nowhere
            raise FileExistsError(f"{path} exists; --force replaces it")


def write_gguf(
    path: Path,
    architecture: str,
    fill: Callable[[GGUFWriter], None],
    tensors: Sequence[OutputTensor],
    options: OutputOptions,
    label: str,
) -> list[Path]:
    """Writes the file, or its parts; returns their paths. fill adds the metadata; label stands before the progress bar.

    What was there before stays whole until the new files are complete. FileExistsError without options.force;
    OutputError when the disk is full or the folder cannot be written.
    """
    names = shard_names(path, tensors, options.split_max_size)
    check_target(names, options.force, options.sources)
    total = sum(tensor.nbytes for tensor in tensors)
    try:
        targets = [destination(name) for name in names]
        folder = targets[0].parent
        if any(target.parent != folder for target in targets):
            raise OutputError(f"the parts of {path} are links into different folders")
        free = shutil.disk_usage(folder).free
        if free < total:  # sooner than after an hour of work
            raise OutputError(f"{path} needs {human_bytes(total)}, the disk of {folder} has {human_bytes(free)} free")
        with part_folder(targets[0]) as part:
            written = _write(part / "model.gguf", architecture, fill, tensors, options, label)
            for source, target in zip(written, targets, strict=True):
                take_place(source, target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}") from error
    return names


def _write(
    path: Path,
    architecture: str,
    fill: Callable[[GGUFWriter], None],
    tensors: Sequence[OutputTensor],
    options: OutputOptions,
    label: str,
) -> list[Path]:
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, architecture, split_max_size=options.split_max_size)
    try:
        fill(writer)
        for tensor in tensors:
            kind = GGMLQuantizationType(_core.weight_types()[tensor.type_name][0])
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        silent = options.quiet or not sys.stderr.isatty()
        total = sum(tensor.nbytes for tensor in tensors)
        progress = tqdm(total=total, unit="B", unit_scale=True, desc=label, file=sys.stderr, disable=silent)
        with progress as bar, ThreadPoolExecutor(1) as disk:
            loaded = _ahead(tensors)  # the writer keeps their order
            syncs, unsynced = [], 0
            for file, names in zip(writer.fout or [], writer.tensors, strict=True):
                file.flush()
                for _ in names:
                    tensor, data = next(loaded)
                    _write_tensor(file.fileno(), tensor, data, writer.data_alignment)
                    bar.update(tensor.nbytes)
                    unsynced += tensor.nbytes
                    if unsynced > SYNC:  # the disk works while the next tensors are made
                        syncs.append(disk.submit(os.fdatasync, file.fileno()))
                        unsynced = 0
                _pad(file.fileno(), writer.data_alignment)
                syncs.append(disk.submit(os.fsync, file.fileno()))
            for sync in syncs:
                sync.result()
    finally:
        writer.close()
    return sorted(path.parent.glob("*.gguf"))


def _ahead(tensors: Sequence[OutputTensor]) -> Iterator[tuple[OutputTensor, Bytes]]:
    """Each tensor with its bytes; the next is loaded while one is written."""
    with ThreadPoolExecutor(1) as thread:
        pending = [thread.submit(tensor.load) for tensor in tensors[:1]]
        for number, tensor in enumerate(tensors):
            data = pending.pop().result()
            pending += [thread.submit(following.load) for following in tensors[number + 1 : number + 2]]
            yield tensor, data


def _write_tensor(descriptor: int, tensor: OutputTensor, data: Bytes, alignment: int) -> None:
    """Appends a tensor at the next multiple of the alignment, in pieces that end at multiples of PIECE."""
    if data.nbytes != tensor.nbytes:
        raise AssertionError(f"{tensor.name}: {data.nbytes} bytes, expected {tensor.nbytes}")
    start = _pad(descriptor, alignment)
    done, view = _sent(descriptor, tensor), data.data
    while done < len(view):
        done += os.write(descriptor, view[done : done + PIECE - (start + done) % PIECE])
    tensor.done()


def _sent(descriptor: int, tensor: OutputTensor) -> int:
    """Has the system copy what lies in a file as it is, without a way through our memory; returns the bytes that it
    copied: all, or none where it cannot."""
    done = 0
    if tensor.origin is None or sys.platform != "linux":
        return done
    file, begin = tensor.origin
    try:
        while done < tensor.nbytes:
            sent = os.sendfile(descriptor, file, begin + done, tensor.nbytes - done)
            if sent == 0:
                raise OutputError(f"tensor '{tensor.name}': the file that has it has become shorter")
            done += sent
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return done


def _pad(descriptor: int, alignment: int) -> int:
    """Zeros up to the next multiple of the alignment, which is returned."""
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    zeros = bytes(-end % alignment)
    while zeros:  # a disk that fills up takes a part first
        done = os.write(descriptor, zeros)
        end, zeros = end + done, zeros[done:]
    return end
