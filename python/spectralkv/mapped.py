"""A file mapped for reading once, whose pages go back to the system as soon as they are done with."""

from __future__ import annotations

import contextlib
import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np

POPULATE_READ = 22  # MADV_POPULATE_READ of Linux, which Python's mmap does not name
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class MappedFile:
    """view: the whole file as uint8. OSError, or ValueError for an empty file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open(path, "rb")  # noqa: SIM115, closed with the object
        self._map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view: Bytes = np.frombuffer(self._map, np.uint8)

    def read_ahead(self, begin: int, end: int) -> None:
        """Maps the pages of a part at once, where the system can: one by one they cost as much as copying them."""
        first = begin // mmap.PAGESIZE * mmap.PAGESIZE
        if sys.platform == "linux" and end > first:
            with contextlib.suppress(OSError):  # of kernels before 5.14
                self._map.madvise(POPULATE_READ, first, end - first)

    def release(self, begin: int, end: int) -> None:
        """Lets the system take the pages that lie wholly inside: the peak of memory stays near one tensor."""
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        length = end // mmap.PAGESIZE * mmap.PAGESIZE - first
        if length > 0:
            self._map.madvise(mmap.MADV_DONTNEED, first, length)
