"""Chat templates made of bytes: each byte chooses, so that inputs which a fuzzer changes stay templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

DEEPEST = 5
LONGEST = 4000  # characters


def split(text: str) -> list[str]:
    return text.split()


NAMES = split(
    "messages m m.content m.role big texts tools loop ns ns.x ns.y bos_token undefined_name self varargs kwargs caller "
    "add_generation_prompt none true false x y numbers table"
)
CALLED = split("range dict namespace cycler joiner strftime_now raise_exception a b loop caller self.c9 ns.x")
NUMBERS = split(
    "0 1 2 3 7 16 64 255 1000 60000 65535 65536 1000000 16777216 10000000000 1.5 1e308 -1 -60000 0x" + "f" * 64
)
STRINGS = (
    "",
    "a",
    " ",
    "\\n",
    "ab",
    "A",
    "%s",
    "%d",
    "%(a)s",
    "%99999d",
    "%*d",
    "{}",
    "{0}",
    "{a}",
    "{:>99999}",
    "{0.__class__}",
    "{0[content]}",
    "{:{}}",
    "</think>",
    "<|im_start|>",
    "é",
    "ß",
    "\\u2028",
    "content",
    "role",
    "a.b.c",
    "x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x",
    "__class__",
    "%Y",
    "%c%c%c",
    "user",
    "0",
    "999999",
    "tojson",
    "upper",
    "even",
)
ATTRIBUTES = split(
    "content role tool_calls x y a items keys values get copy count index split rsplit splitlines strip lstrip rstrip "
    "startswith endswith replace join format format_map upper lower title capitalize find rfind partition rpartition "
    "center ljust zfill encode decode translate expandtabs isdigit append update fromkeys first last length cycle "
    "nextitem changed next current reset __class__ __init__ __globals__ __mro__ mro gi_frame func_code bit_length "
    "to_bytes from_bytes striptags unescape removeprefix casefold swapcase maketrans name arguments catch_kwargs"
)
FILTERS = split(
    "abs attr batch capitalize center count default dictsort escape e filesizeformat first float forceescape format "
    "groupby indent int items join last length list lower map max min pprint random reject rejectattr replace reverse "
    "round safe select selectattr slice sort string sum title tojson trim truncate unique upper urlencode wordcount "
    "wordwrap"
)
TESTS = split(
    "boolean callable defined divisibleby eq escaped even false filter float ge gt in integer iterable le lower lt "
    "mapping ne none number odd sameas sequence string test true undefined upper"
)
ARGUMENTS = split(
    "attribute d default width first blank old new count start fill_with linecount slices precision method length end "
    "leeway indent sort_keys separators ensure_ascii base case_sensitive reverse by value wrapstring break_long_words a"
)
OPERATORS = split("+ - * / // % ** ~ == != < <= > >= in and or")
OPERATORS.append("not in")


class Grammar:
    """One template; where the bytes end, every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._written = 0

    def _next(self, n: int) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % n

    def _one(self, of: Sequence[str]) -> str:
        return of[self._next(len(of))]

    def template(self) -> str:
        parts: list[str] = ["{% set ns = namespace(x='a', y=[1]) %}"]
        while self._at < len(self._data) and self._written < LONGEST:
            parts.append(self._statement(0))
            self._written += len(parts[-1])
        return "".join(parts)

    # ---- expressions

    def _expression(self, depth: int) -> str:
        if depth >= DEEPEST:
            return self._atom(depth)
        kinds: tuple[Callable[[int], str], ...] = (
            self._atom,
            self._atom,
            self._filtered,
            self._filtered,
            self._called,
            self._method,
            self._binary,
            self._binary,
            self._attribute,
            self._sliced,
            self._tested,
            self._display,
            self._chosen,
            self._repeated,
        )
        return kinds[self._next(len(kinds))](depth + 1)

    def _atom(self, _: int) -> str:
        kind = self._next(4)
        if kind == 0:
            return self._one(NAMES)
        if kind == 1:
            return self._one(NUMBERS)
        return "'" + self._one(STRINGS) + "'" if kind == 2 else self._one(("m", "big", "texts", "messages", "ns.x"))

    def _arguments(self, depth: int) -> str:
        plain, named = [], {}
        for _ in range(self._next(3)):
            kind, value = self._next(8), self._expression(depth)
            if kind < 3:
                named[self._one(ARGUMENTS)] = value
            else:
                plain.append(value)
        starred = [f"*({self._expression(depth)})"] if self._next(16) == 1 else []
        return ", ".join([*plain, *(f"{name}={value}" for name, value in named.items()), *starred])

    def _filtered(self, depth: int) -> str:
        return f"({self._expression(depth)} | {self._one(FILTERS)}({self._arguments(depth)}))"

    def _called(self, depth: int) -> str:
        return f"{self._one(CALLED)}({self._arguments(depth)})"

    def _method(self, depth: int) -> str:
        return f"({self._expression(depth)}).{self._one(ATTRIBUTES)}({self._arguments(depth)})"

    def _attribute(self, depth: int) -> str:
        value = self._expression(depth)
        return f"({value}).{self._one(ATTRIBUTES)}" if self._next(2) else f"({value})[{self._expression(depth)}]"

    def _binary(self, depth: int) -> str:
        return f"({self._expression(depth)} {self._one(OPERATORS)} {self._expression(depth)})"

    def _sliced(self, depth: int) -> str:
        bounds = [self._expression(depth) if self._next(2) else "" for _ in range(3)]
        return f"({self._expression(depth)})[{':'.join(bounds)}]"

    def _tested(self, depth: int) -> str:
        negated = "not " if self._next(2) else ""
        arguments = f"({self._expression(depth)})" if self._next(2) else ""
        return f"({self._expression(depth)} is {negated}{self._one(TESTS)}{arguments})"

    def _display(self, depth: int) -> str:
        kind, one, other = self._next(3), self._expression(depth), self._expression(depth)
        return f"[{one}, {other}]" if kind == 0 else f"({one}, {other})" if kind == 1 else f"{{{one}: {other}}}"

    def _chosen(self, depth: int) -> str:
        return f"({self._expression(depth)} if {self._expression(depth)} else {self._expression(depth)})"

    def _repeated(self, depth: int) -> str:
        return f"({self._expression(depth)} * {self._one(NUMBERS)})"

    # ---- statements

    def _body(self, depth: int) -> str:
        return "".join(self._statement(depth + 1) for _ in range(self._next(3)))

    def _statement(self, depth: int) -> str:
        kind = self._next(17) if depth < DEEPEST else self._next(3)
        value = self._expression(depth)
        if kind in (0, 1):
            return "{{ " + value + " }}"
        if kind == 2:
            return f"{{% set {self._one(('x', 'y', 'ns.x', 'ns.y', 'x, y'))} = {value} %}}"
        if kind in (3, 4, 5):
            condition = f" if {self._expression(depth)}" if self._next(3) == 1 else ""
            recursive = " recursive" if self._next(4) == 1 else ""
            over = value if self._next(2) else self._one(("messages", "range(60000)", "range(9)", "texts"))
            leave = self._one(("", "", "{% break %}", "{% continue %}"))
            return f"{{% for m in {over}{condition}{recursive} %}}{self._body(depth)}{leave}{{% endfor %}}"
        if kind in (6, 7):
            return f"{{% if {value} %}}{self._body(depth)}{{% else %}}{self._body(depth)}{{% endif %}}"
        if kind in (8, 9):
            return f"{{% macro {self._one(('a', 'b'))}(x, y={value}) %}}{self._body(depth)}{{% endmacro %}}"
        if kind == 10:
            return f"{{% call {self._one(('a', 'b'))}({value}) %}}{self._body(depth)}{{% endcall %}}"
        if kind == 11:
            return f"{{% filter {self._one(FILTERS)}({self._arguments(depth)}) %}}{self._body(depth)}{{% endfilter %}}"
        if kind == 12:
            return f"{{% set x %}}{self._body(depth)}{{% endset %}}"
        if kind == 13:
            return f"{{% with x = {value} %}}{self._body(depth)}{{% endwith %}}"
        if kind == 14:
            return self._one((" text\n", "{% raw %}{{{% endraw %}", "{# c #}", "{%- set y = 1 -%}", "{% include m %}"))
        if kind == 15:
            return f"{{% generation %}}{self._body(depth)}{{% endgeneration %}}"
        return f"{{% block c{self._at} %}}{self._body(depth)}{{% endblock %}}"
