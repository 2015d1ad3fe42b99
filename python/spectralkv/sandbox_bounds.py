"""What a chat template may ask of filters, methods and operators, and the account of what it has used."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from types import GeneratorType
from typing import Any

import jinja2

LONGEST = 1 << 24  # characters of one text, and of all that is written
MOST = 1 << 28  # characters that one rendering may hold
WIDEST = 1 << 16  # a width, a repetition, a number handed to a method
MOST_ITEMS = 1 << 16  # of a list that is handed to a filter, a test or a function
MOST_NODES = 1 << 18  # of nested lists and dicts, each counted as often as it is to be seen
MOST_STEPS = 1 << 20  # turns of loops, branches, calls
SECONDS = 1.0  # of this thread's computing, for a short chat
SECONDS_OF_A_CHARACTER = 5e-7  # more, for each that a template is given
MOST_SECONDS = 1.8  # whatever it is given
_MOST_BITS = 1 << 12  # of a whole number
_LONGEST_PATTERN = 1 << 16  # characters with the places that are filled in
_LONGEST_NUMBER = 1 << 12  # characters of a text that becomes a number
_LONGEST_DIVIDED = 1 << 22  # characters of a text that is cut at spaces or line ends
_PART = 64  # characters that a part of a text counts as, for its place in memory
_MOST_ARGUMENTS = 1 << 10
_LONGEST_PATH = 16  # names of an attribute's attribute: "a.b.c"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The methods that templates have of what messages are made of. Others encode with slow codecs, grow without saying how
# much, or make numbers of any size.
METHODS: tuple[tuple[type | tuple[type, ...], frozenset[str]], ...] = (
    (
        str,
        _words(
            "capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal isdigit "
            "isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition "
            "removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith "
            "strip swapcase title upper zfill"
        ),
    ),
    (dict, frozenset(("copy", "get", "items", "keys", "values"))),
    ((list, tuple), frozenset(("copy", "count", "index"))),
    ((int, float, bytes, type, GeneratorType), frozenset()),
)
# Filters that no chat asks for and whose work has no simple bound.
LEFT_OUT = ("lipsum", "striptags", "urlize", "xmlattr")

# Filters that look at each character of a text, or of what becomes one.
_BY_CHARACTER = _words("batch groupby join list map max min reject rejectattr select selectattr slice sort sum unique")
_SLOW = frozenset(("pprint", "title", "urlencode", "wordcount", "wordwrap"))
# Those that make a text of whatever they get.
_TO_TEXT = _words("capitalize center e escape forceescape format indent join lower replace string trim truncate upper")
_NUMBERED = _words("batch center format indent join pprint replace round slice wordwrap")
# Those that compare items, or a copy of each.
_COMPARING = frozenset(("dictsort", "groupby", "max", "min", "sort", "unique"))
_BY_ATTRIBUTE = _words("groupby join map max min rejectattr selectattr sort sum unique")
_PARTS = frozenset(("partition", "rpartition", "rsplit", "split", "splitlines"))
_FROM_THE_END = frozenset(("lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"))
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"

_WIDTH = re.compile(r"\d{6,}|\*")
_DIGITS = re.compile(r"\d+")


class TooMuch(jinja2.TemplateRuntimeError):
    """The template asks for more than a chat can need."""


_WORTH = 256  # characters of a text that is looked for again: so many in each of MOST_STEPS are no more than MOST
_SWEEP = 1 << 20  # characters after which texts that are gone are looked for
_SUMS = 4  # lists whose size is remembered


@dataclass
class _Spent:
    """By this rendering so far; the clock is the thread's own, so that a busy machine changes nothing."""

    seconds: float = SECONDS
    characters: int = 0  # for good, or until a sweep finds what has them gone
    steps: int = 0
    # Long texts and lists that may still be held, each once, by its identity: what is held here keeps it.
    made: dict[int, tuple[Any, int]] = field(default_factory=dict)
    sweep_at: int = _SWEEP
    sums: list[tuple[Any, int, int]] = field(default_factory=list)  # lists, their characters and nodes
    until: float = 0

    def __post_init__(self) -> None:
        self.until = time.thread_time() + self.seconds

    def sweep(self) -> None:
        """Gives back what texts and lists had that nothing but `made` holds: those of a sum that has gone on since."""
        before = sum(n for _, n in self.made.values())
        self.made = _still_held(self.made, _ALONE)
        self.characters -= before - sum(n for _, n in self.made.values())
        self.sweep_at = self.characters + max(_SWEEP, _WORTH // 4 * len(self.made))


def _still_held(made: dict[int, tuple[Any, int]], alone: int) -> dict[int, tuple[Any, int]]:
    return {key: (value, n) for key, (value, n) in made.items() if sys.getrefcount(value) > alone}


# References to what nothing but such a dict holds, as the sweep sees them.
_ALONE = next(n for n in range(1, 99) if not _still_held({0: ("".join(("a", "b")), 2)}, n))
_spent: ContextVar[_Spent] = ContextVar("spent")


@contextmanager
def account(given: Any) -> Iterator[None]:
    """Of one rendering. given: all that the template gets, by whose length it may take longer."""
    more = SECONDS_OF_A_CHARACTER * length_of(given)
    token = _spent.set(_Spent(min(SECONDS + more, MOST_SECONDS)))
    try:
        yield
    finally:
        _spent.reset(token)


def look(n: int) -> None:
    """Refuses to make or look at n characters where there is no room for them; counts none."""
    spent = _spent.get()
    if n <= LONGEST and spent.characters + n > min(MOST, spent.sweep_at):
        spent.sweep()
    if n > LONGEST or spent.characters + n > MOST:
        raise TooMuch(f"it puts together a text of more than {LONGEST} characters, or holds {MOST} in all")


def spend(n: int) -> None:
    """Counts n characters that are about to be made, for good."""
    look(n)
    _spent.get().characters += n


def keep(value: Any, n: int) -> None:
    """Counts n characters of a text or a list that was made, as long as it is held: what grows in a loop is many, of
    which one is left. What a template is handed again, as `get` hands a message's text, was counted."""
    if id(value) in _spent.get().made:
        return
    spend(n)
    if n >= _WORTH:
        _spent.get().made[id(value)] = (value, n)


def step() -> None:
    """Counts one more turn, branch or call, and looks at the clock."""
    spent = _spent.get()
    spent.steps += 1
    if spent.steps > MOST_STEPS:
        raise TooMuch(f"it takes more than {MOST_STEPS} steps")
    if time.thread_time() > spent.until:
        raise TooMuch(f"it computes for more than {spent.seconds:.1f} seconds")


def _size_of(value: Any) -> tuple[int, int]:
    """Characters and nodes; the first is some number above LONGEST where either is too many."""
    n, seen, rest = 0, 0, [value]
    while rest and n <= LONGEST:
        item = rest.pop()
        seen += 1
        if seen + len(rest) > MOST_NODES:
            return LONGEST + 1, seen
        if isinstance(item, (str, bytes)):
            n += len(item)
        elif isinstance(item, dict):
            n += 4 * len(item)
            rest += [*item.keys(), *item.values()]
        elif isinstance(item, jinja2.utils.Namespace):
            rest.append(item._Namespace__attrs)  # which is what it shows of itself
        elif isinstance(item, (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)):
            n += 2 * len(item) + 2
            rest += item
        else:
            n += 16
    return n, seen


def length_of(value: Any) -> int:
    """How many characters a value takes when written, or some number above LONGEST."""
    return _size_of(value)[0]


def held(value: Any) -> Any:
    """A new list or dict: one that holds another twice, and that one a third twice, would take for ever to compare,
    to hash, to write."""
    step()
    if length_of(value) > LONGEST:
        raise TooMuch(f"it makes a list of more than {MOST_NODES} parts, or {LONGEST} characters")
    return value


def made(result: Any, of: Any) -> Any:
    """What a filter or a method has made of something: templates keep as much as they like."""
    if result is not of:
        if isinstance(result, str):
            keep(result, len(result))
        elif isinstance(result, (list, tuple)):
            keep(result, 8 * len(result))
    return result


def check_numbers(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > WIDEST and not isinstance(value, bool):
            raise TooMuch(f"it hands the number {_shown(value)} to a function; {WIDEST} is the largest")


def check_items(values: Sequence[Any]) -> None:
    if len(values) > _MOST_ARGUMENTS:
        raise TooMuch(f"it hands {len(values)} arguments to a function; {_MOST_ARGUMENTS} are the most")
    for value in values:
        if hasattr(value, "__len__") and not isinstance(value, (str, bytes)) and len(value) > MOST_ITEMS:
            raise TooMuch(f"it hands a list of {len(value)} items to a function; {MOST_ITEMS} are the most")


def _shown(number: int) -> str:
    return str(number)[:12] if number.bit_length() <= _MOST_BITS else f"of {number.bit_length()} bits"


def _text(value: Any) -> str:
    """What becomes a text anyway."""
    if isinstance(value, str):
        return value
    look(length_of(value))
    return str(value)


# ---- operators


def _check_bits(n: int) -> None:
    if n > _MOST_BITS:
        raise TooMuch(f"it computes a number of more than {_MOST_BITS} bits")


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Of + - * / // % **."""
    for value in (left, right):
        if isinstance(value, int):
            _check_bits(value.bit_length())
    if operator == "**":
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * abs(right))
    elif operator == "*":
        _check_product(left, right)
    elif operator == "%" and isinstance(left, (str, bytes)):
        check_percent(left, right)
    elif operator == "+" and not isinstance(left, (int, float)):
        _check_sum(left, right)


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, list) and isinstance(right, list):
        look(8 * (len(left) + len(right)))  # what they hold is not made anew
    else:
        look(length_of(left) + length_of(right))


def sum_of(left: Any, right: Any, result: Any) -> Any:
    """left + right, which is the result: counted, and as bounded as what `held` lets pass. Lists do not change, so one
    that grows in a loop is not counted from its beginning each time."""
    if isinstance(result, list):
        sums = _spent.get().sums
        n, nodes = next((size for known, *size in sums if known is left), None) or _size_of(left)
        more, more_nodes = _size_of(right)
        n, nodes = n + more, nodes + more_nodes
        if n > LONGEST or nodes > MOST_NODES:
            raise TooMuch(f"it makes a list of more than {MOST_NODES} parts, or {LONGEST} characters")
        sums[:] = [*sums[1 - _SUMS :], (result, n, nodes)]
    return made(result, None)


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
        return
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and hasattr(value, "__len__"):
            (look if isinstance(value, str) else spend)(max(times, 0) * max(length_of(value), len(value)))


def check_width(pattern: str) -> None:
    if _WIDTH.search(pattern):
        raise TooMuch("it pads a text to a width of more than five digits, or to one that it computes")


def check_pattern(pattern: str | bytes) -> None:
    if len(pattern) > _LONGEST_PATTERN:
        raise TooMuch(f"it fills in a text of {len(pattern)} characters; {_LONGEST_PATTERN} are the most")


def check_percent(pattern: str | bytes, given: Any) -> None:
    """Of pattern % given: a text or a tuple's items are written once, what a dict holds as often as the pattern names
    it."""
    check_pattern(pattern)
    text = pattern if isinstance(pattern, str) else pattern.decode("latin-1")
    places = text.count("%")
    if places:
        check_width(text)
    widest = max(map(int, _DIGITS.findall(text)), default=0) if places else 0
    times = 1 if isinstance(given, (str, list, tuple)) else places
    look(len(text) + times * length_of(given) + places * widest)


def slice_of(value: Any, part: slice) -> Any:
    """value[part]"""
    step()
    if isinstance(value, (str, bytes, list, tuple)):
        n = len(range(*part.indices(len(value))))
        look(n if isinstance(value, (str, bytes)) else 8 * n)
    return made(value[part], value)


def joined(pieces: Iterable[Any]) -> str:
    """What macros and blocks have written."""
    taken: list[str] = []
    n = 0
    for piece in pieces:
        n += len(piece)
        if n > LONGEST:
            break
        taken.append(piece)
    look(n)
    return str(made("".join(taken), None))


# ---- methods of texts


def check_method(text: str, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, without generators."""
    look(len(text) + sum(length_of(value) for value in arguments))
    if name == "replace":
        _check_replacement(text, arguments)
    elif name == "join" and arguments:
        return (_joinable(arguments[0], len(text)), *arguments[1:])
    elif name in _FROM_THE_END:  # these look for each character, or from each place, anew
        _check_work(text, arguments)
    if name in _PARTS:
        spend(len(text))  # once in the parts, whoever holds them
    if name in ("split", "rsplit", "splitlines"):
        separator = arguments[0] if arguments else None
        if isinstance(separator, str) and separator:
            spend(_PART * text.count(separator))
        elif len(text) > _LONGEST_DIVIDED:
            raise TooMuch(f"it divides a text of {len(text)} characters; {_LONGEST_DIVIDED} are the most")
    return arguments


def _check_work(text: str, arguments: Iterable[Any]) -> None:
    if len(text) * max((len(value) for value in arguments if isinstance(value, str)), default=0) > MOST:
        raise TooMuch("it looks for a long text in a long text")


def _check_replacement(text: str, arguments: Sequence[Any]) -> None:
    old, new = (*arguments, "", "")[:2]
    if isinstance(old, str) and isinstance(new, str):
        look(len(text) + text.count(old) * len(new))


def _joinable(items: Any, separator: int) -> Any:
    """What is to be joined, as a list if it has no length."""
    if not hasattr(items, "__len__"):
        items = _listed(items)
    look(length_of(items) + len(items) * separator)
    return items


def _listed(items: Any) -> Any:
    """A generator's items."""
    if not isinstance(items, Iterator):
        return items
    taken = list(islice(items, MOST_ITEMS + 1))
    check_items((taken,))
    return taken


# ---- filters


def check_filter(name: str, values: Sequence[Any], named: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """What the filter is to be called with: the same, but for generators and what becomes a text anyway."""
    first, others = values[0], [*values[1:], *named.values()]
    if name in _BY_CHARACTER and isinstance(first, str) and len(first) > MOST_ITEMS:
        raise TooMuch(f"it hands a text of {len(first)} characters to {name}; {MOST_ITEMS} are the most")
    if name in _SLOW and (n := length_of(first)) > MOST_ITEMS:
        raise TooMuch(f"it hands {n} characters to {name}; {MOST_ITEMS} are the most")
    if name in _NUMBERED:
        check_numbers(others)
    if name in _TO_TEXT:
        look(length_of(first))
    if name in _COMPARING:
        first = _listed(first)
        spend(length_of(first))
    if name in _BY_ATTRIBUTE:
        for value in others:
            if isinstance(value, str) and value.count(".") + value.count(",") > _LONGEST_PATH:
                raise TooMuch(f"it names an attribute of more than {_LONGEST_PATH} parts")
    check = _FILTERS.get(name)
    return check(first, values[1:], named) if check is not None else ((first, *values[1:]), named)


_Checked = tuple[Sequence[Any], Mapping[str, Any]]


def _format(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    pattern = _text(first)
    check_percent(pattern, dict(named) if named else tuple(rest))
    return (pattern, *rest), named


def _replace(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    text, given = _text(first), dict(zip(("old", "new", "count"), rest, strict=False)) | dict(named)
    given |= {key: _text(given[key]) for key in ("old", "new") if key in given}
    _check_replacement(text, (given.get("old", ""), given.get("new", "")))
    return (text,), given


def _trim(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    text = _text(first)
    _check_work(text, (*rest, *named.values()))
    return (text, *rest), named


def _indent(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    width = rest[0] if rest else named.get("width", 4)
    lines = 1 + sum(first.count(end) for end in _LINE_ENDS) if isinstance(first, str) else 0
    look(lines * (len(width) if isinstance(width, str) else int(width)))
    return (first, *rest), named


def _wordwrap(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    longest = max((len(value) for value in (*rest, *named.values()) if isinstance(value, str)), default=1)
    look((1 + length_of(first)) * longest)
    return (first, *rest), named


def _join(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    separator = length_of(rest[0] if rest else named.get("d", ""))
    return (_joinable(first, separator), *rest), named


def _sum(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    start = rest[1] if len(rest) > 1 else named.get("start", 0)
    if not isinstance(start, (int, float)):
        raise TooMuch("it adds up what is no number")
    return (first, *rest), named


def _int(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    if isinstance(first, (str, bytes)) and len(first) > _LONGEST_NUMBER:
        raise TooMuch(f"it makes a number of a text of {len(first)} characters; {_LONGEST_NUMBER} are the most")
    return (first, *rest), named


def _round(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    if isinstance(first, int):
        _check_bits(first.bit_length())
    digits = rest[0] if rest else named.get("precision", 0)
    if isinstance(digits, int):
        _check_bits(4 * abs(digits))
    return (first, *rest), named


def _repeated(first: Any, rest: Sequence[Any], named: Mapping[str, Any]) -> _Checked:
    """Of filters that put one argument in the place of many items."""
    given = (*rest, *named.values())
    if len(given) > 1:
        first = _listed(first)
        numbers = [value for value in given if isinstance(value, int)]
        spend(max([len(first) if hasattr(first, "__len__") else 1, *numbers]) * max(map(length_of, given)))
    return (first, *rest), named


_FILTERS: dict[str, Callable[[Any, Sequence[Any], Mapping[str, Any]], _Checked]] = {
    "batch": _repeated,
    "filesizeformat": _int,
    "float": _int,
    "format": _format,
    "indent": _indent,
    "int": _int,
    "join": _join,
    "map": _repeated,
    "replace": _replace,
    "round": _round,
    "slice": _repeated,
    "sum": _sum,
    "trim": _trim,
    "wordwrap": _wordwrap,
}
