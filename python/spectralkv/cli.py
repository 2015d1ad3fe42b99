"""The command `spectralkv`: pull, convert and quantize are Python, everything else is in the core that the standalone
binary shares."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from spectralkv.pull import PullError, pull

NO_PLOT = "it needs matplotlib, which is not installed: pip install 'spectralkv[plot]'"
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


def _plot_fidelity(report: str, folder: str) -> str:
    """Draws what `fidelity` measured, a JSON object, into a folder; returns the images' paths, a line each."""
    from spectralkv.plots import draw_fidelity

    return "\n".join(f"wrote {path}" for path in draw_fidelity(json.loads(report), folder))


def _convert_main(args: Sequence[str]) -> int:
    from spectralkv.convert.command import main as convert_main

    return convert_main(args)


def _quantize_main(args: Sequence[str]) -> int:
    from spectralkv.quantize_command import main as quantize_main

    return quantize_main(args)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "convert": (_convert_main, "turn a Llama or Mistral checkpoint into a GGUF file"),
    "quantize": (_quantize_main, "write a GGUF file with its weights in another type"),
    "pull": (_pull_main, PULL_HELP),
}


def _format_chat(*arguments: Any) -> str:
    from spectralkv.chat import format_chat  # Jinja takes its time, and only a chat needs it

    return format_chat(*arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if args and args[0] in COMMANDS:
            return COMMANDS[args[0]][0](args[1:])
        if args[:1] == ["help"] and len(args) > 1 and args[1] in COMMANDS:
            return COMMANDS[args[1]][0](["--help"])
        from spectralkv import _core  # in here, so that Ctrl-C while it loads ends quietly

        if sys.stdout is not None:  # as it is when it is closed
            sys.stdout.flush()
        return _core.cli_main(
            [os.fsencode(arg) for arg in args],
            format_chat=_format_chat,
            default_model=pull,
            more_commands=[(name, line) for name, (_, line) in COMMANDS.items()],
            plot_fidelity=_plot_fidelity if importlib.util.find_spec("matplotlib") else None,
            no_plot=NO_PLOT,
        )
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
