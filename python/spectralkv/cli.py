"""The command `spectralkv`: serve, eval, pull, convert and quantize are Python, everything else is in the core that the
standalone binary shares. Imports wait until they are needed, inside of `main`, which ends quietly when Ctrl-C comes
meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectralkv._core import Tokenizer

PULL_HELP = "fetch a model: the demo model, one by its address, or one of the Hugging Face Hub"


def _pull_main(args: Sequence[str]) -> int:
    from spectralkv.fetch.command import main as pull_main

    _exit_at_a_signal()
    return pull_main(args)


def _plot_fidelity(report: str, folder: str) -> str:
    """Draws what `fidelity` measured, a JSON object, into a folder; returns the images' paths, a line each."""
    import json

    from spectralkv.plots import draw_fidelity

    return "\n".join(f"wrote {path}" for path in draw_fidelity(json.loads(report), folder))


def _no_plot() -> str:
    from spectralkv.extras import install_hint

    return f"it needs matplotlib, which is not installed: {install_hint('plot')}"


def _unpack_npz(path: str, archive: bytes) -> bytes:
    """The array of token ids in a NumPy archive, as the bytes of a .npy file: "ids", "tokens", or the only one."""
    import io
    import zipfile

    most = 1 << 30  # bytes of an unpacked array: archives are untrusted
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as members:
            names = members.namelist()
            wanted = [name for name in ("ids.npy", "tokens.npy") if name in names] or names
            if len(wanted) != 1 and wanted == names:
                raise LookupError(f"it has no array 'ids' or 'tokens'; it has {', '.join(names)}")
            if members.getinfo(wanted[0]).file_size > most:
                raise LookupError(f"its array is larger than {most} bytes")
            return members.read(wanted[0])
    except Exception as error:  # of an untrusted file anything can be wrong
        raise ValueError(f"'{path}' is no .npz file of token ids: {error}") from error


def _exit_at_a_signal() -> None:
    """SIGTERM and SIGHUP end the program as Ctrl-C does, through every `finally`: no half of a file stays."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda n, _: sys.exit(128 + n))


def _convert_main(args: Sequence[str]) -> int:
    from spectralkv.convert.command import main as convert_main

    _exit_at_a_signal()
    return convert_main(args)


def _quantize_main(args: Sequence[str]) -> int:
    from spectralkv.quantize_command import main as quantize_main

    _exit_at_a_signal()
    return quantize_main(args)


def _eval_main(args: Sequence[str]) -> int:
    from spectralkv.evaluate.command import main as eval_main

    return eval_main(args)


def _format_chat(
    source: str, messages: list[dict[str, str]], add_generation_prompt: bool, bos_token: str, eos_token: str
) -> str:
    from spectralkv.chat import format_chat

    return format_chat(source, messages, add_generation_prompt, bos_token, eos_token)


def _default_model() -> str:
    from spectralkv.fetch.pull import pull

    return pull()


def _fetch_model(repo: str, file: str) -> str:
    from spectralkv.fetch.hub import fetch_reference

    return fetch_reference(repo, file)


def _constrain(option: str, text: str, tokenizer: Tokenizer) -> Callable[[int], bytes]:
    from spectralkv.grammar import of_option

    return of_option(option, text, tokenizer)


def _message_reader() -> Callable[[str], str | None] | None:
    """Reads messages of a chat from a terminal that can be drawn on; None where there is none."""
    for stream in (sys.stdin, sys.stderr):  # answers go to stdout, which may be a file
        if stream is None or stream.closed or not stream.isatty():
            return None
    if os.environ.get("TERM", "") in ("", "dumb"):
        return None

    def read(prompt: str) -> str | None:
        from spectralkv.line_editor import read_message

        return read_message(prompt)

    return read


def _serve_main(args: Sequence[str]) -> int:
    from spectralkv.serve.command import main as serve_main

    return serve_main(args)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "convert": (_convert_main, "turn a checkpoint of Hugging Face or Mistral into a GGUF file"),
    "quantize": (_quantize_main, "write a GGUF file with its weights in another type"),
    "eval": (_eval_main, "judge cache types by what a model still can do: retrieval"),
    "serve": (_serve_main, "answer many at a time over HTTP, as OpenAI's API does"),
    "pull": (_pull_main, PULL_HELP),
}


def _run(args: Sequence[str]) -> int:
    if args and args[0] in COMMANDS:
        return COMMANDS[args[0]][0](args[1:])
    if args[:1] == ["help"] and len(args) > 1 and args[1] in COMMANDS:
        return COMMANDS[args[1]][0](["--help"])
    import importlib.util

    from spectralkv import _core
    from spectralkv.calibrations import SHIPPED

    can_plot = importlib.util.find_spec("matplotlib") is not None

    if sys.stdout is not None:  # as it is when it is closed
        sys.stdout.flush()
    return _core.cli_main(
        [os.fsencode(arg) for arg in args],
        format_chat=_format_chat,
        default_model=_default_model,
        more_commands=[(name, line) for name, (_, line) in COMMANDS.items()],
        plot_fidelity=_plot_fidelity if can_plot else None,
        no_plot="" if can_plot else _no_plot(),
        unpack_npz=_unpack_npz,
        fetch_model=_fetch_model,
        calibrations=SHIPPED,
        constrain=_constrain,
        read_message=_message_reader(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 nobody
    reads stdout any more."""
    try:
        from spectralkv.terminal import with_output

        args = list(sys.argv[1:] if argv is None else argv)
        return with_output(lambda: _run(args))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
