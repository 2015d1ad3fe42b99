"""Text on its way to a terminal; cpp/base/shown.cc does the same for the core."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable

# Control characters but line feed and tab, and marks that turn the direction of writing: a terminal obeys them.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def for_terminal(text: object) -> str:
    """The text, which may quote an untrusted file, with \\xNN and \\u{NNNN} in place of what a terminal would obey."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:04x}}}"

    return _OBEYED.sub(escaped, str(text))


def complain(error: object) -> int:
    """Says on stderr what went wrong; returns the exit status."""
    print(f"error: {for_terminal(error)}", file=sys.stderr)
    return 1


def with_output(command: Callable[[], int]) -> int:
    """Runs a command; returns its exit status when its output has been written, and 141 or 1 when nobody takes it."""
    try:
        status = command()
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        _drop_output()
        return complain(error)


def _drop_output() -> None:
    """Python tries again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or no file of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
