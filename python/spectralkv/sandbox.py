"""Jinja's sandbox with bounds on what a template from an untrusted file can make, and on how long it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import wraps
from string import Formatter
from types import BuiltinMethodType, MethodType
from typing import Any, cast

import jinja2
from jinja2 import nodes as tree
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from spectralkv.sandbox_bounds import (
    LEFT_OUT,
    LONGEST,
    METHODS,
    TooMuch,
    account,
    check_filter,
    check_items,
    check_method,
    check_numbers,
    check_operands,
    check_pattern,
    check_width,
    held,
    joined,
    length_of,
    look,
    made,
    slice_of,
    spend,
    step,
    sum_of,
)

LONGEST_SOURCE = 1 << 16  # characters of a template
PLAIN_MARK = "\ufdd0"  # which texts have where no control token begins (the core's kPlainMark)
DEEPEST = 16  # spaces of JSON's indentation, characters of its separators


def _finalize(value: Any) -> Any:
    """What is written as it is: a text made of a nest of lists can be long before it is one."""
    if not isinstance(value, str) and length_of(value) > LONGEST:
        raise TooMuch(f"it writes more than {LONGEST} characters")
    return value


class _Generator(CodeGenerator):
    """Sends `~`, comparisons, slices and what is put into lists through the environment as well, and counts each visit
    of a body: of a loop, a branch, a macro."""

    def visit_Concat(self, node: tree.Concat, frame: Frame) -> None:
        self.write("environment.join_texts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Add(self, node: tree.BinExpr, frame: Frame) -> None:
        parts: list[tree.Expr] = [node.right]
        rest = node.left
        while isinstance(rest, tree.Add):
            parts.append(rest.right)
            rest = rest.left
        self.write("environment.added(context")
        for part in (rest, *reversed(parts)):
            self.write(", ")
            self.visit(part, frame)
        self.write(")")

    def visit_Compare(self, node: tree.Compare, frame: Frame) -> None:
        self.write("(environment.stepped(")
        self.visit(node.expr, frame)
        self.write(")")
        for operand in node.ops:
            self.write(f" {operators[operand.op]} environment.stepped(")
            self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    def visit_Getitem(self, node: tree.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, tree.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.slice_of(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
            self.write(", ")
        self.write("))")

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
    if separators is not None and len(separators) != 2:
        raise jinja2.TemplateRuntimeError("tojson: separators are two texts")
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


class _Fields(Formatter):
    """What `format` fills in, each with its bounds."""

    def format_field(self, value: Any, format_spec: str) -> str:
        step()
        check_width(format_spec)
        look(length_of(value))
        text = str(super().format_field(value, format_spec))
        spend(len(text))
        return text


class _Plain(_Fields, SandboxedFormatter):
    pass


class _Escaping(_Fields, SandboxedEscapeFormatter):
    pass


class Sandbox(ImmutableSandboxedEnvironment):
    """Refuses with TooMuch what would fill the memory or take long: long texts, large numbers, wide paddings, many
    turns. Of texts, lists and dicts it has the methods that chats use."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    # What compiled templates call.
    concat = staticmethod(joined)
    held = staticmethod(held)
    slice_of = staticmethod(slice_of)
    step = staticmethod(step)

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_finalize, **options)
        self.add_extension(Generation)
        self.filters["tojson"] = to_json
        for name in LEFT_OUT:
            self.globals.pop(name, None)
            self.filters.pop(name, None)
        self.filters = {name: self._bounded(name, function) for name, function in self.filters.items()}
        self.tests = {name: self._counted(cast(Callable[..., Any], function)) for name, function in self.tests.items()}

    @staticmethod
    def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            step()
            check_items(arguments)
            return function(*arguments, **named)

        return counted

    @staticmethod
    def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # What Jinja passes in front (context, environment) is told by a mark on the function.
        n_front = 0 if getattr(function, "jinja_pass_arg", None) is None else 1

        @wraps(function)
        def bounded(*arguments: Any, **named: Any) -> Any:
            step()
            front, given = arguments[:n_front], arguments[n_front:]
            check_items(given)
            values, named_values = check_filter(name, given, named)
            return made(function(*front, *values, **named_values), given[0])

        return bounded

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, names in METHODS:
            if isinstance(obj, kind):
                return attr in names and super().is_safe_attribute(obj, attr, value)
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        text = getattr(value, "__self__", None)
        if not (
            isinstance(value, (MethodType, BuiltinMethodType)) and value.__name__ == "format" and isinstance(text, str)
        ):
            return None
        fields = _Escaping(self, escape=text.escape) if isinstance(text, Markup) else _Plain(self)

        def format_bounded(*arguments: Any, **named: Any) -> str:
            check_pattern(text)
            return type(text)(fields.vformat(text, arguments, named))

        return format_bounded

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        step()
        check_operands(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        return sum_of(left, right, result) if operator == "+" else made(result, None)

    def added(self, context: Any, first: Any, *others: Any) -> Any:
        """first + ..., which is one text where all of them are."""
        if all(isinstance(part, str) and not isinstance(part, Markup) for part in (first, *others)):
            step()
            return self.join_texts((first, *others))
        for part in others:
            first = self.call_binop(context, "+", first, part)
        return first

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        step()
        check_items(args)
        check_numbers([*args, *kwargs.values()])
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            args = check_method(owner, __obj.__name__, args)
        elif isinstance(__obj, Macro) and (__obj.catch_varargs or __obj.catch_kwargs):
            held([*args, *kwargs.values()])
        result = made(super().call(__context, __obj, *args, **kwargs), owner)
        return held(result) if __obj is dict else result

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
    def join_texts(parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        look(sum(length_of(part) for part in parts))
        return str(made("".join(map(str, parts)), None))

    def render_bounded(self, template: jinja2.Template, **variables: Any) -> str:
        """The template's text; TooMuch when it or what it is made of is too long, or takes too long."""
        with account(variables):
            return joined(template.generate(**variables))
