"""The command `spectralkv`: `pull` lives here, everything else in the core that the standalone binary shares."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from spectralkv.pull import PullError, pull

PULL_HELP = "fetch the demo model, SmolLM2-135M-Instruct, into the cache folder"


def _pull_main(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="spectralkv pull", description=PULL_HELP)
    parser.add_argument("--force", action="store_true", help="fetch it even when it is there")
    options = parser.parse_args(args)
    try:
        print(pull(force=options.force))
    except PullError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _format_chat(*arguments: Any) -> str:
    from spectralkv.chat import format_chat  # Jinja takes its time, and only a chat needs it

    return format_chat(*arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        from spectralkv import _core  # in here, so that Ctrl-C while it loads ends quietly

        if args[:1] == ["pull"]:
            return _pull_main(args[1:])
        if args[:2] == ["help", "pull"]:
            return _pull_main(["--help"])
        if sys.stdout is not None:  # as it is when it is closed
            sys.stdout.flush()
        words = [os.fsencode(arg) for arg in args]
        return _core.cli_main(words, format_chat=_format_chat, default_model=pull, more_commands=[("pull", PULL_HELP)])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
