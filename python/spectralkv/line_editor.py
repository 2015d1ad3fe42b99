"""Messages of a chat on a terminal: editing, the messages before on the arrow keys, pastes of several lines."""

from __future__ import annotations

import sys
from functools import lru_cache

from prompt_toolkit import PromptSession
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output


@lru_cache(maxsize=1)
def _session() -> PromptSession[str]:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    # The history is of this process alone: what somebody asks a model is not written to a disk.
    return PromptSession(key_bindings=keys, output=create_output(stdout=sys.stderr))


def read_message(prompt: str) -> str | None:
    """The message that the user sends by Enter; None when Ctrl-D ends the chat. Ctrl-C is a KeyboardInterrupt."""
    try:
        return _session().prompt(prompt)
    except EOFError:
        return None
