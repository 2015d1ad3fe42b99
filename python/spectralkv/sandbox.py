"""Jinja's sandbox with a bound on what a template from an untrusted file can make."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 1 << 24  # characters of one text, and of all that is written
MOST = 1 << 28  # characters that one rendering may put together
WIDEST = 1 << 16  # a width, a repetition, a number handed to a method
_MOST_BITS = 1 << 12  # of a whole number
_GROWING = ("batch", "center", "format", "indent", "join", "pprint", "replace", "string", "tojson", "wordwrap")

_made: ContextVar[list[int]] = ContextVar("made")  # so far in this rendering, one number
_WIDTH = re.compile(r"\d{6,}|\*")


class TooMuch(jinja2.TemplateRuntimeError):
    """The template asks for more than a chat can need."""


def spend(n: int) -> None:
    """Counts n characters that are about to be made."""
    made = _made.get()
    made[0] += n
    if n > LONGEST or made[0] > MOST:
        raise TooMuch(f"it puts together a text of more than {LONGEST} characters, or {MOST} in all")


def _length(value: Any) -> int:
    """How many characters a value takes when written, or some number above LONGEST."""
    n, rest = 0, [value]
    while rest and n <= LONGEST:
        item = rest.pop()
        if isinstance(item, (str, bytes)):
            n += len(item)
        elif isinstance(item, dict):
            n += 4 * len(item)
            rest += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            n += 2 * len(item) + 2
            rest += item
        else:
            n += 16
    return n


def _finalize(value: Any) -> Any:
    """What is written as it is: a text made of a nest of lists can be long before it is one."""
    if not isinstance(value, str) and _length(value) > LONGEST:
        raise TooMuch(f"it writes more than {LONGEST} characters")
    return value


def _check_arguments(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > WIDEST and not isinstance(value, bool):
            raise TooMuch(f"it hands the number {str(value)[:12]} to a function; {WIDEST} is the largest")


def _check_replacement(text: Any, arguments: tuple[Any, ...]) -> None:
    old, new = (*arguments, "", "")[:2]
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        spend(len(text) + text.count(old) * len(new))


class _Generator(CodeGenerator):
    """Sends `~` through the environment as well."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join_texts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    """Refuses with TooMuch what would fill the memory: long texts, large numbers, wide paddings."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, filters: dict[str, Any], **options: Any) -> None:
        super().__init__(finalize=_finalize, **options)
        self.filters.update(filters)
        self.globals.pop("lipsum", None)
        for name in (
            "center",
            "indent",
            "format",
            "replace",
            "join",
            "string",
            "tojson",
            "pprint",
            "batch",
            "wordwrap",
        ):
            if name in self.filters:
                self.filters[name] = self._bounded(name, self.filters[name])

    @staticmethod
    def _bounded(name: str, function: Any) -> Any:
        # What Jinja passes in front (context, environment) is told by a mark on the function.
        mark = getattr(function, "jinja_pass_arg", None)
        n_front = 0 if mark is None else 1

        def bounded(*arguments: Any, **named: Any) -> Any:
            values = arguments[n_front:]
            _check_arguments([*values[1:], *named.values()])
            if name == "format":
                _check_format(str(values[0]))
            if name == "replace":
                _check_replacement(values[0], values[1:])
            n_items = len(values[0]) if name == "join" and hasattr(values[0], "__len__") else 0
            separator = max([_length(value) for value in [*values[1:], *named.values()]], default=0)
            spend(_length(values[0]) + n_items * separator)
            return function(*arguments, **named)

        if mark is not None:
            bounded.jinja_pass_arg = mark  # type: ignore[attr-defined]
        return bounded

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            _check_power(left, right)
        elif operator == "*":
            _check_product(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            spend(len(left) + _length(right))
        elif operator == "+" and not isinstance(left, (int, float)):
            spend(_length(left) + _length(right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _check_arguments([*args, *kwargs.values()])
        name, owner = getattr(__obj, "__name__", ""), getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            if name == "replace":
                _check_replacement(owner, args)
            elif name in ("format", "format_map"):
                _check_format(owner)
            spend(len(owner) + sum(_length(value) for value in args))
            if name == "join" and args and hasattr(args[0], "__len__"):
                spend(len(args[0]) * len(owner))
        return super().call(__context, __obj, *args, **kwargs)

    def join_texts(self, parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        spend(sum(_length(part) for part in parts))
        return "".join(map(str, parts))

    def render_bounded(self, template: jinja2.Template, **variables: Any) -> str:
        """The template's text; TooMuch when it or what it is made of is too long."""
        token = _made.set([0])
        try:
            pieces = []
            n = 0
            for piece in template.generate(**variables):
                pieces.append(piece)
                n += len(piece)
                if n > LONGEST:
                    raise TooMuch(f"it writes more than {LONGEST} characters")
            return "".join(pieces)
        finally:
            _made.reset(token)


def _check_format(pattern: str) -> None:
    if _WIDTH.search(pattern) and ("%" in pattern or "{" in pattern):
        raise TooMuch("it pads a text to a width of more than five digits, or to one that it computes")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _MOST_BITS:
        raise TooMuch(f"it computes a number of more than {_MOST_BITS} bits")


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _MOST_BITS:
            raise TooMuch(f"it computes a number of more than {_MOST_BITS} bits")
        return
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and hasattr(value, "__len__"):
            spend(max(times, 0) * max(_length(value), len(value)))
