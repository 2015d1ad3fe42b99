"""Reads safetensors files through a mapping: NumPy has no bf16, so tensors come as the bytes that the file holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectralkv.convert.errors import ConvertError
from spectralkv.mapped import Bytes, MappedFile

WEIGHT_TYPES = {"F32": ("f32", 4), "F16": ("f16", 2), "BF16": ("bf16", 2)}
MOST_HEADER = 100 << 20  # bytes, the format's own limit


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies. dtype: as safetensors names it; shape: row length last."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    file: SafetensorsFile

    @property
    def type_name(self) -> str:
        """Our name of the type; ConvertError when it is none of f32, f16 and bf16."""
        if self.dtype not in WEIGHT_TYPES:
            hint = (
                "save the checkpoint in one of them (model.to(torch.float32).save_pretrained(FOLDER))"
                if self.dtype == "F64"
                else "quantised checkpoints are not"
            )
            raise ConvertError(
                f"{self.file.path}: tensor '{self.name}' has type {self.dtype}; f32, f16 and bf16 are supported, {hint}"
            )
        return WEIGHT_TYPES[self.dtype][0]

    def data(self) -> Bytes:
        """The bytes, mapped; `release` gives the pages back."""
        self.file.read_ahead(self.begin, self.end)
        return self.file.view[self.begin : self.end]

    def release(self) -> None:
        self.file.release(self.begin, self.end)


class SafetensorsFile:
    """One file, its table checked: every tensor lies inside the file and has the bytes that its shape needs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = MappedFile(path)
        except (OSError, ValueError) as error:
            raise ConvertError(f"{path} cannot be read: {error}") from error
        self.descriptor = self._file.file.fileno()
        self.view, self.read_ahead, self.release = self._file.view, self._file.read_ahead, self._file.release
        self.tensors = dict(self._read_table())

    def _read_table(self) -> list[tuple[str, TensorEntry]]:
        size = len(self.view)
        header = int.from_bytes(self.view[:8].tobytes(), "little") if size >= 8 else -1
        if not 2 <= header <= min(MOST_HEADER, size - 8):
            raise ConvertError(f"{self.path} is no safetensors file: its header has {header} bytes, the file {size}")
        try:
            table = json.loads(self.view[8 : 8 + header].tobytes())
        except (ValueError, RecursionError) as error:
            raise ConvertError(f"{self.path} is no safetensors file: {error}") from error
        if not isinstance(table, dict):
            raise ConvertError(f"{self.path} is no safetensors file: its header is no object")
        table.pop("__metadata__", None)
        return [(name, self._entry(name, item, 8 + header)) for name, item in table.items()]

    def _entry(self, name: str, item: object, start: int) -> TensorEntry:
        try:
            dtype, shape = str(item["dtype"]), tuple(int(n) for n in item["shape"])  # type: ignore[index]
            begin, end = (start + int(n) for n in item["data_offsets"])  # type: ignore[index]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConvertError(f"{self.path}: the entry of tensor '{name}' is damaged: {item!r}") from error
        if min(shape, default=1) < 0 or not start <= begin <= end <= len(self.view):
            raise ConvertError(
                f"{self.path}: tensor '{name}' lies at {begin} to {end}, the file has {len(self.view)} bytes; "
                "is the download complete?"
            )
        if dtype in WEIGHT_TYPES:
            expected = int(np.prod(shape, dtype=object)) * WEIGHT_TYPES[dtype][1]
            if end - begin != expected:
                raise ConvertError(
                    f"{self.path}: tensor '{name}' {list(shape)} in {dtype} needs {expected} bytes, has {end - begin}"
                )
        return TensorEntry(name, dtype, shape, begin, end, self)
