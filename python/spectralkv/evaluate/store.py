"""Results as JSON lines: a first line with the settings, then one record an answer, appended as soon as it is there.

A run that was killed goes on behind the last whole line. Records hold nothing that changes from run to run, and a run
that ends leaves them in the order of their keys: equal questions give equal files, however many runs they took.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from spectralkv.atomic import destination, naming, whole_file

Record = dict[str, Any]


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _order(key: str) -> list[tuple[int, str]]:
    """Keys in order, numbers in them by their size."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key)]


def read_results(path: Path) -> tuple[Record, list[Record], int]:
    """Settings, records, and the bytes of whole lines; a last line that was cut off does not count. ValueError, which
    names the line, when the file holds anything else than JSON objects."""
    lines = path.read_bytes().split(b"\n")
    values: list[Record] = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line feed is not whole
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ValueError(f"[eval] {path}:{number} is no JSON: {error}") from error
        if not isinstance(value, dict) or (number > 1 and "key" not in value):
            raise ValueError(f"[eval] {path}:{number} is no record of an evaluation")
        values.append(value)
    whole = sum(len(line) + 1 for line in lines[:-1])
    return (values[0], values[1:], whole) if values else ({}, [], 0)


class ResultFile:
    """The records of one evaluation with one cache type, open for more. Use it as a context manager.

    settings: all that decides what a key's record holds; a file with other settings is refused with a ValueError that
    names them. Another process that has the file open is a ValueError too.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = destination(path)
        self.records: dict[str, Record] = {}
        self._file: IO[bytes] = open(self.path, "ab")  # noqa: SIM115 - closed by __exit__
        try:
            with naming(self.path):
                self._open(settings)
        except BaseException:
            self._abandon()
            raise

    def _open(self, settings: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"[eval] another process is writing {self.path}") from None
        self._settings: Record = json.loads(_line(settings))  # as JSON has it: tuples are lists
        wanted = self._settings
        held, records, whole = read_results(self.path)
        self._file.truncate(whole)
        if not held:
            self._write(wanted)
        elif held != wanted:
            names = sorted(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))
            raise ValueError(
                f"[eval] {self.path} was made with other settings ("
                + "; ".join(f"{name}: {held.get(name)!r} there, {wanted.get(name)!r} now" for name in names)
                + "): give another folder with --out, or remove it"
            )
        self.records = {record["key"]: record for record in records}

    def _abandon(self) -> None:
        """Closes the file with an error on the way: another one would hide it, and what is not written cannot be."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        with naming(self.path):
            self._file.write(_line(value))
            self._file.flush()

    def add(self, record: Record) -> None:
        """Appends a record, which has a "key" that no other has."""
        assert record["key"] not in self.records
        self._write(record)
        self.records[record["key"]] = record

    def arrange(self) -> None:
        """Puts the records into the order of their keys: the file is whole, old or new, at any time."""
        keys = sorted(self.records, key=_order)
        if keys == list(self.records):
            return
        kept: IO[bytes] | None = None  # locked as the file that is written: nobody comes between
        try:
            with whole_file(self.path) as file:
                for value in (self._settings, *(self.records[key] for key in keys)):
                    file.write(_line(value))
                kept = os.fdopen(os.dup(file.fileno()), "wb")
        except BaseException:
            if kept is not None:
                with contextlib.suppress(OSError):  # it would hide the other one
                    kept.close()
            raise
        closed, self._file = self._file, kept
        with contextlib.suppress(OSError):  # all of it is in the new one
            closed.close()
        self.records = {key: self.records[key] for key in keys}

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # it is the one to be told
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
            self._abandon()
            return
        with naming(self.path):
            os.fsync(self._file.fileno())
            self._file.close()
