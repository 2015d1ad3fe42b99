"""Fuzzes chat templates: each is refused with words, or gives a text; neither takes longer or more than it may.

An input is a byte and a template, as it is (odd bytes) or made of the input's bytes (template_grammar.py).
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import harness
from template_grammar import ATTRIBUTES, FILTERS, STRINGS, Grammar

MODULES = ("jinja2", "markupsafe", "spectralkv.sandbox_bounds", "spectralkv.sandbox", "spectralkv.chat")
SECONDS = 5.0  # of computing; the sandbox stops at one, but its compiler and a guided run are slow
# What a template makes the interpreter do may open, run or reach nothing.
FORBIDDEN = ("open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "signal.", "urllib.", "winreg.")
CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": [1, "é", None]}}}
MESSAGES = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "hello <|im_start|> caf\udce9\n" * 3},
    {"role": "assistant", "content": "<think>\nx\n</think>\n\nyes", "tool_calls": [CALL]},
    {"role": "tool", "content": "ab \n" * 500, "name": "f"},
]
VARIABLES: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "m": MESSAGES[1],
    "big": "ab \n" * 50_000,
    "texts": [f"text {i}" for i in range(2000)],
    "numbers": list(range(2000)),
    "table": {f"k{i}": i for i in range(200)},
}

armed = False
reached: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    # A syntax error looks for the line that it names.
    if armed and event.startswith(FORBIDDEN) and arguments[:1] != ("<template>",):
        reached.append(f"{event} {arguments}")


class Templates:
    modules = MODULES

    def __init__(self) -> None:
        from spectralkv.chat import format_chat

        self._format = format_chat
        for seed in self.seeds():  # what they import is there
            self.read(seed)
        sys.addaudithook(watch)

    def seeds(self) -> list[bytes]:
        chats = sorted((harness.ROOT / "tests" / "support").glob("*.jinja"))
        plain = [path.read_bytes() for path in chats]
        plain.append(
            b"{% macro turn(m) %}<{{ m.role }}>{{ caller() }}{% endmacro %}{% for m in messages[1:] if m.content %}"
            b"{% call turn(m) %}{{ m.content.split('</think>')[-1].lstrip('\\n') | trim }}{% endcall %}{% if loop.last "
            b"and not m is string %}{% break %}{% endif %}{% endfor %}{{ tools | tojson(indent=2) }}{{ '%s %d' % "
            b"('a', 1) }}{{ '{:>9}'.format(1) }}{{ texts | map('upper') | select('string') | list | length }}"
        )
        plain.append(
            b"{% set ns = namespace(x=0) %}{% for m in messages | selectattr('role', 'equalto', 'user') %}{% set ns.x "
            b"= ns.x + loop.index0 %}{% generation %}{{ m['content'] | replace('a', 'b') | indent(2) }}"
            b"{% endgeneration %}{% endfor %}{{ strftime_now('%Y') }}"
            b"{{ ns.x ** 2 // 3 }}{{ numbers | sum }}{{ table | dictsort | first }}"
        )
        plain.append(
            b"{{ 'a b' | wordwrap(1) }}{{ texts[:2] | pprint }}{{ 'a' | urlencode }}{{ texts | random | wordcount }}"
        )
        numbers = random.Random(1)
        return [b"\x01" + text for text in plain] + [b"\x00" + numbers.randbytes(64) for _ in range(24)]

    def words(self) -> list[bytes]:
        words = [*ATTRIBUTES, *FILTERS, *(text for text in STRINGS if text)]
        words += ["{%", "%}", "{{", "}}", "{%-", "-%}", "{#", "for m in", "endfor", "if", "endif", "macro", "endmacro"]
        words += [
            "set x =",
            "endset",
            "call",
            "endcall",
            "filter",
            "namespace(",
            "range(65535)",
            "| ",
            "** 65535",
            "is",
        ]
        return [word.encode() for word in words]

    def mutated(self, data: bytes, numbers: random.Random) -> bytes | None:
        return None  # any change of the bytes makes another template

    def read(self, data: bytes) -> None:
        global armed
        if not data:
            return
        source = data[1:].decode("utf-8", "replace") if data[0] % 2 else Grammar(data[1:]).template()
        begun = time.thread_time()
        armed = True
        try:
            self._format(source, MESSAGES, data[0] % 4 < 2, "<s>", "</s>", VARIABLES)
            refusal = ""
        except ValueError as error:
            refusal = str(error)
        finally:
            armed = False
        assert not refusal or refusal.startswith("[chat] the model"), f"{refusal}: {source!r}"
        assert "MemoryError" not in refusal, f"{refusal}: {source!r}"
        took = time.thread_time() - begun
        assert not reached, f"it reached {reached}: {source!r}"
        assert took < SECONDS, f"{took:.1f} s of computing: {source!r}"


if __name__ == "__main__":
    harness.main(Templates, MODULES)
