"""What a report measures: commands of `spectralkv`, each run once, whose JSON is kept beside the command."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from spectralkv.atomic import write_whole


def shown_command(args: Sequence[str]) -> str:
    """As a user types it."""
    return shlex.join(["spectralkv", *args])


def machine() -> str:
    """The processor and how many of it this process may use."""
    name = platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1].strip() if found else name
    return f"{name}, {len(os.sched_getaffinity(0))} processors"


class Runner:
    """Runs commands and keeps their results in a folder, a file each. collect: run nothing, give what is there.

    A result is taken again only for the very same command."""

    def __init__(self, folder: Path, collect: bool) -> None:
        self._folder, self._collect = folder, collect
        self._machines: set[str] = set()
        self._dates: set[str] = set()

    def measured(self, threads: int) -> dict[str, Any]:
        """Where and when what was given out was measured."""
        dates = sorted(self._dates) or [date.today().isoformat()]
        return {
            "machines": " and ".join(sorted(self._machines)) or "a machine that was not recorded",
            "dates": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
            "threads": threads,
        }

    def _note(self, kept: dict[str, Any], path: Path) -> Any:
        """Results of earlier versions say neither machine nor date."""
        if "machine" in kept:
            self._machines.add(kept["machine"])
        self._dates.add(kept.get("date") or date.fromtimestamp(path.stat().st_mtime).isoformat())
        return kept["result"]

    def _path(self, name: str) -> Path:
        return self._folder / (re.sub(r"[^\w.+-]", "_", name) + ".json")

    def _kept(self, name: str, args: Sequence[str]) -> dict[str, Any] | None:
        """What the file of that name says of the command; None when it has another one's, or is not there."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"[eval] {path} is no JSON ({error}): remove it") from error
        return dict(kept) if kept.get("command") == shown_command(args) else None

    def has(self, name: str, args: Sequence[str]) -> bool:
        """Whether `json_of` needs to run nothing."""
        return self._kept(name, args) is not None

    def json_of(self, name: str, args: Sequence[str]) -> Any:
        """The JSON that the command prints; None when nothing may be run and it is not there. ValueError, with what
        the command said, when it fails."""
        path, command = self._path(name), shown_command(args)
        if (held := self._kept(name, args)) is not None:
            return self._note(held, path)
        if self._collect:
            print(f"left out, not measured yet: {command}", file=sys.stderr)
            return None
        output = self.run(args)
        try:
            result = json.loads(output)
        except ValueError as error:
            raise ValueError(f"[eval] {command}: printed no JSON ({error})") from error
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = {"command": command, "machine": machine(), "date": date.today().isoformat(), "result": result}
        write_whole(path, (json.dumps(kept) + "\n").encode("utf-8"))
        return self._note(kept, path)

    def run(self, args: Sequence[str]) -> str:
        """The command's standard output; nothing when nothing may be run. ValueError when it fails."""
        if self._collect:
            return ""
        print(shown_command(args), file=sys.stderr, flush=True)
        result = subprocess.run([sys.executable, "-m", "spectralkv.cli", *args], capture_output=True)
        if result.returncode == 130:
            raise KeyboardInterrupt
        if result.returncode != 0:
            said = result.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = said[-1] if said else f"status {result.returncode}"
            raise ValueError(f"[eval] {shown_command(args)} failed: {reason}")
        return result.stdout.decode("utf-8")
