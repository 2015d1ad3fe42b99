"""Jinja's sandbox with bounds on what a template from an untrusted file can make, and on how long it takes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, cast

import jinja2
from jinja2 import nodes as tree
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 1 << 24  # characters of one text, and of all that is written
MOST = 1 << 28  # characters that one rendering may put together
LONGEST_SOURCE = 1 << 16  # characters of a template
WIDEST = 1 << 16  # a width, a repetition, a number handed to a method
MOST_ITEMS = 1 << 16  # of a list that is handed to a filter, a test or a function
MOST_NODES = 1 << 18  # of nested lists and dicts, each counted as often as it is to be seen
MOST_STEPS = 1 << 20  # turns of loops, branches, calls
PLAIN_MARK = "\ufdd0"  # which texts have where no control token begins (the core's kPlainMark)
SECONDS = 1.0  # of this thread's computing
DEEPEST = 16  # spaces of JSON's indentation, characters of its separators
_MOST_BITS = 1 << 12  # of a whole number
# Filters that may give more than they get, and those that look at each character of a text.
_GROWING = ("batch", "center", "format", "indent", "join", "pprint", "replace", "string", "wordwrap")
_BY_CHARACTER = frozenset(
    (
        "batch",
        "groupby",
        "join",
        "list",
        "map",
        "max",
        "min",
        "pprint",
        "reject",
        "rejectattr",
        "select",
        "selectattr",
        "slice",
        "sort",
        "sum",
        "title",
        "unique",
        "urlencode",
        "urlize",
        "wordcount",
        "wordwrap",
    )
)

_WIDTH = re.compile(r"\d{6,}|\*")


@dataclass
class _Spent:
    """By this rendering so far; the clock is the thread's own, so that a busy machine changes nothing."""

    characters: int = 0
    steps: int = 0
    until: float = field(default_factory=lambda: time.thread_time() + SECONDS)


_spent: ContextVar[_Spent] = ContextVar("spent")


class TooMuch(jinja2.TemplateRuntimeError):
    """The template asks for more than a chat can need."""


def spend(n: int) -> None:
    """Counts n characters that are about to be made."""
    spent = _spent.get()
    spent.characters += n
    if n > LONGEST or spent.characters > MOST:
        raise TooMuch(f"it puts together a text of more than {LONGEST} characters, or {MOST} in all")


def step() -> None:
    """Counts one more turn, branch or call, and looks at the clock."""
    spent = _spent.get()
    spent.steps += 1
    if spent.steps > MOST_STEPS:
        raise TooMuch(f"it takes more than {MOST_STEPS} steps")
    if time.thread_time() > spent.until:
        raise TooMuch(f"it computes for more than {SECONDS} seconds")


def _length(value: Any) -> int:
    """How many characters a value takes when written, or some number above LONGEST."""
    n, seen, rest = 0, 0, [value]
    while rest and n <= LONGEST:
        item = rest.pop()
        seen += 1
        if seen + len(rest) > MOST_NODES:
            return LONGEST + 1
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


def _check_growth(name: str, values: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Of a filter that may give more than it gets."""
    _check_arguments([*values[1:], *named.values()])
    if name == "format":
        _check_format(str(values[0]))
    if name == "replace":
        _check_replacement(values[0], tuple(values[1:]))
    n_items = len(values[0]) if name == "join" and hasattr(values[0], "__len__") else 0
    separator = max([_length(value) for value in [*values[1:], *named.values()]], default=0)
    spend(_length(values[0]) + n_items * separator)


def _check_items(values: Iterable[Any]) -> None:
    for value in values:
        if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) and len(value) > MOST_ITEMS:
            raise TooMuch(f"it hands a list of {len(value)} items to a function; {MOST_ITEMS} are the most")


class _Generator(CodeGenerator):
    """Sends `~`, comparisons and what is put into lists through the environment as well, and counts each visit of a
    body: of a loop, a branch, a macro."""

    def visit_Concat(self, node: tree.Concat, frame: Frame) -> None:
        self.write("environment.join_texts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: tree.Compare, frame: Frame) -> None:
        self.write("(environment.stepped(")
        self.visit(node.expr, frame)
        self.write(")")
        for operand in node.ops:
            self.write(f" {operators[operand.op]} environment.stepped(")
            self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    def visit_List(self, node: tree.List, frame: Frame) -> None:
        self.write("environment.held(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: tree.Dict, frame: Frame) -> None:
        self.write("environment.held(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Tuple(self, node: tree.Tuple, frame: Frame) -> None:
        if node.ctx != "load":  # names that are assigned to
            super().visit_Tuple(node, frame)
            return
        self.write("environment.held(")
        super().visit_Tuple(node, frame)
        self.write(")")

    def blockvisit(self, nodes: Iterable[tree.Node], frame: Frame) -> None:
        self.writeline("environment.step()")
        super().blockvisit(nodes, frame)


class Generation(Extension):
    """{% generation %} ... {% endgeneration %}, which marks what an assistant says for training: the body alone."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja has it

    def parse(self, parser: Parser) -> tree.Node:
        line = next(parser.stream).lineno
        return tree.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter `tojson` as transformers has it: no character is escaped that JSON does not ask for."""
    for part in (indent, *(separators or ())):
        if (len(part) if isinstance(part, str) else part or 0) > DEEPEST:
            raise TooMuch(f"tojson: indent and separators have at most {DEEPEST} characters")
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    pieces = []
    for piece in encoder.iterencode(value):
        step()
        spend(len(piece))
        pieces.append(piece)
    text = "".join(pieces)
    return text.replace(json.dumps(PLAIN_MARK)[1:-1], PLAIN_MARK) if ensure_ascii else text


class Sandbox(ImmutableSandboxedEnvironment):
    """Refuses with TooMuch what would fill the memory or take long: long texts, large numbers, wide paddings, many
    turns."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%"})
    step = staticmethod(step)

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_finalize, **options)
        self.add_extension(Generation)
        self.filters["tojson"] = to_json
        self.globals.pop("lipsum", None)
        self.filters = {name: self._bounded(name, function) for name, function in self.filters.items()}
        self.tests = {name: self._counted(cast(Callable[..., Any], function)) for name, function in self.tests.items()}

    @staticmethod
    def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            step()
            _check_items(arguments)
            return function(*arguments, **named)

        return counted

    @staticmethod
    def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # What Jinja passes in front (context, environment) is told by a mark on the function.
        n_front = 0 if getattr(function, "jinja_pass_arg", None) is None else 1

        @wraps(function)
        def bounded(*arguments: Any, **named: Any) -> Any:
            step()
            values = arguments[n_front:]
            _check_items(values)
            if name in _BY_CHARACTER and isinstance(values[0], str) and len(values[0]) > MOST_ITEMS:
                raise TooMuch(f"it hands a text of {len(values[0])} characters to {name}; {MOST_ITEMS} are the most")
            if name in _GROWING:
                _check_growth(name, values, named)
            return function(*arguments, **named)

        return bounded

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        step()
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
        step()
        _check_items(args)
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
        result = super().call(__context, __obj, *args, **kwargs)
        return __self.held(result) if __obj is dict else result

    def compile_bounded(self, source: str) -> jinja2.Template:
        """The template; TooMuch when it is too long to be compiled in a moment."""
        if len(source) > LONGEST_SOURCE:
            raise TooMuch(f"it has {len(source)} characters; {LONGEST_SOURCE} are the most")
        return self.from_string(source)

    @staticmethod
    def stepped(value: Any) -> Any:
        """What is compared."""
        step()
        return value

    @staticmethod
    def held(value: Any) -> Any:
        """A new list or dict: one that holds another twice, and that one a third twice, would take for ever to compare,
        to hash, to write."""
        step()
        if _length(value) > LONGEST:
            raise TooMuch(f"it makes a list of more than {MOST_NODES} parts, or {LONGEST} characters")
        return value

    def join_texts(self, parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        spend(sum(_length(part) for part in parts))
        return "".join(map(str, parts))

    def render_bounded(self, template: jinja2.Template, **variables: Any) -> str:
        """The template's text; TooMuch when it or what it is made of is too long, or takes too long."""
        token = _spent.set(_Spent())
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
            _spent.reset(token)


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
