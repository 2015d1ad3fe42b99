"""Importance matrices as llama-imatrix writes them: how much errors of each column of a weight matrix count."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core
from spectralkv.output import printable

SUMS, COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class Importance:
    """values: by tensor name, for n matrices of a tensor behind each other, [n * cols], none negative."""

    path: Path
    values: dict[str, NDArray[np.float32]]

    def of(self, name: str, shape: Sequence[int]) -> NDArray[np.float32] | None:
        """That of the tensor, shape with the row length last; None where the file has none."""
        found = self.values.get(name)
        if found is None or len(shape) < 2:
            return None
        size = shape[-1] * int(np.prod(shape[:-2]))
        if found.size != size:
            raise ValueError(
                f"{self.path}: tensor '{printable(name)}' has {found.size} numbers, {size} are expected for the shape "
                f"{'x'.join(map(str, shape))}: the file was made for another model"
            )
        return found


def read_importance(path: str | Path) -> Importance:
    """Reads either format, GGUF or the older .dat; ValueError names the file and the tensor with what is wrong."""
    path = Path(path)
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    values: dict[str, NDArray[np.float32]] = {}
    for name, numbers in _from_gguf(path) if is_gguf else _from_dat(path):
        where = f"{path}: tensor '{printable(name)}'"
        if name in values:
            raise ValueError(f"{where} occurs twice")
        if not numbers.size or not np.isfinite(numbers).all() or (numbers < 0).any():
            raise ValueError(f"{where}: numbers of at least 0 are expected")
        values[name] = np.ascontiguousarray(numbers, np.float32)
    if not values:
        raise ValueError(f"{path}: an importance matrix is expected, it has no tensors")
    return Importance(path, values)


def _from_gguf(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    info = _core.gguf_info(str(path))
    if (kind := info["metadata"].get("general.type")) != "imatrix":
        raise ValueError(f"{path}: an importance matrix is expected, 'general.type' is {kind!r}")
    tensors = {tensor["name"]: tensor for tensor in info["tensors"]}
    files = [np.memmap(name, np.uint8, "r") for name in info["files"]]

    def read(name: str) -> NDArray[np.float32]:
        tensor = tensors[name]
        if tensor["type"] != "f32":
            raise ValueError(f"{path}: tensor '{printable(name)}' is {tensor['type']}, expected f32")
        raw = files[tensor["file"]][tensor["offset"] : tensor["offset"] + tensor["bytes"]]
        return np.frombuffer(raw.tobytes(), np.float32).reshape(tuple(reversed(tensor["shape"])))

    for name in tensors:
        if not name.endswith(SUMS):
            continue
        base = name.removesuffix(SUMS)
        if base + COUNTS not in tensors:
            raise ValueError(f"{path}: tensor '{printable(name)}' has no '{printable(base + COUNTS)}' beside it")
        sums, counts = read(name), read(base + COUNTS)
        sums = sums.reshape(-1, sums.shape[-1])
        if counts.size != len(sums):
            raise ValueError(
                f"{path}: tensor '{printable(base + COUNTS)}' has {counts.size} numbers, expected {len(sums)}"
            )
        counts = counts.reshape(-1, 1)
        with np.errstate(all="ignore"):  # an expert that was never asked counts alike everywhere
            yield base, np.where(counts > 0, sums / counts, np.float32(1)).reshape(-1)


def _from_dat(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """n, then n times: length and name, calls, count and numbers (times the calls). Behind them stands where from."""
    data, at = path.read_bytes(), 0

    def take(n: int, what: str) -> bytes:
        nonlocal at
        if n < 0 or n > len(data) - at:
            raise ValueError(f"{path}: {what} of {n} bytes at byte {at} of {len(data)}: this is no importance matrix")
        at += n
        return data[at - n : at]

    def number(what: str) -> int:
        return int(struct.unpack("<i", take(4, what))[0])

    for _ in range(number("a count of tensors")):
        name = take(number("the length of a name"), "a name").decode("utf-8", "surrogateescape")
        calls, count = number("a number of calls"), number("a count of numbers")
        numbers = np.frombuffer(take(4 * count, f"the numbers of '{printable(name)}'"), "<f4")
        yield name, np.asarray(numbers / max(calls, 1), np.float32)
