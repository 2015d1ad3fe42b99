"""What a report measures: commands of `spectralkv`, each run once, whose JSON is kept beside the command."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectralkv.atomic import write_whole


def shown_command(args: Sequence[str]) -> str:
    """As a user types it."""
    return shlex.join(["spectralkv", *args])


class Runner:
    """Runs commands and keeps their results in a folder, a file each. collect: run nothing, give what is there.

    A result is taken again only for the very same command."""

    def __init__(self, folder: Path, collect: bool) -> None:
        self._folder, self._collect = folder, collect

    def json_of(self, name: str, args: Sequence[str]) -> Any:
        """The JSON that the command prints; None when nothing may be run and it is not there. ValueError, with what
        the command said, when it fails."""
        path = self._folder / (re.sub(r"[^\w.+-]", "_", name) + ".json")
        command = shown_command(args)
        if path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"[eval] {path} is no JSON ({error}): remove it") from error
            if kept.get("command") == command:
                return kept["result"]
        if self._collect:
            print(f"left out, not measured yet: {command}", file=sys.stderr)
            return None
        output = self.run(args)
        try:
            result = json.loads(output)
        except ValueError as error:
            raise ValueError(f"[eval] {command}: printed no JSON ({error})") from error
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps({"command": command, "result": result}) + "\n").encode("utf-8"))
        return result

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
