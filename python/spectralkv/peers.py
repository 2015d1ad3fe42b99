"""Options of llama.cpp's programs in the commands that are Python: taken without effect, or refused with the reason."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Peer:
    """value: "" for a flag, "N" for one with a value, "?" where one may follow. refused: else it changes nothing."""

    names: tuple[str, ...]
    value: str
    why: str
    refused: bool = False


class _Given(argparse.Action):
    """Refuses for the reason that is its metavar, or, where there is none, keeps the name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if self.metavar:
            parser.error(f"option '{option_string}' is not supported: {self.metavar}")
        namespace.ignored = list(dict.fromkeys([*namespace.ignored, option_string]))


def add_peers(parser: argparse.ArgumentParser, rows: Iterable[Peer]) -> None:
    """They are left out of the help. The names of those that were given without effect become `ignored`."""
    parser.set_defaults(ignored=[])
    for row in rows:
        nargs: int | str | None = 0 if row.refused or row.value == "" else "?" if row.value == "?" else None
        parser.add_argument(
            *row.names,
            action=_Given,
            nargs=nargs,
            metavar=row.why if row.refused else None,
            dest="ignored",
            help=argparse.SUPPRESS,
            default=argparse.SUPPRESS,
        )


def ignored_note(names: Sequence[str], page: str) -> str:
    """A line for the user; "" where nothing was ignored."""
    if not names:
        return ""
    listed = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    return f"note: {listed} {'has' if len(names) == 1 else 'have'} no effect here ({page} says why)"
