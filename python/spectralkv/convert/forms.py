"""Reads JSON files, whose form is checked before anything in them is used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError

MOST_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class Each:
    """An object with any keys, whose values have one form."""

    form: Any


class Id:
    """A whole number from 0, of a token."""


NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", Id: "a token's id"}


def read_json(path: Path, form: Any = object) -> dict[str, Any]:
    """The object that the file holds, of this form (see check_form)."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConvertError(f"{path} is missing") from error
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConvertError(f"{path} holds a {type(value).__name__}, expected an object")
    check_form(value, form, path)
    return value


def read_json_if_there(path: Path, form: Any = object) -> dict[str, Any]:
    """The same, or an empty object for a file that does not exist."""
    return read_json(path, form) if path.exists() else {}


def check_form(value: Any, form: Any, path: Path, where: str = "") -> None:
    """ConvertError with the place and the value where `value` has not the form.

    form: str, bool, int, float (any number) or Id; [form]: a list; {key: form}: an object, in which these keys may be
    missing or null and others may be there; Each(form); (form, ...): one of several kinds, of which one is tried by the
    kind of the value; object: anything.
    """
    if form is object:
        return
    if isinstance(form, tuple):
        fitting = [one for one in form if _same_kind(value, one)]
        check_form(value, fitting[0] if fitting else form[0], path, where)
        return
    if not _same_kind(value, form):
        place = f"'{where}'" if where else "the file"
        raise ConvertError(f"{path}: {place} is {shown(value)}, expected {_described(form)}")
    if isinstance(form, list):
        for i, part in enumerate(value):
            check_form(part, form[0], path, f"{where}[{i}]")
    elif isinstance(form, Each):
        for key, part in value.items():
            _check_text(key, path, where)
            check_form(part, form.form, path, f"{where}.{key}" if where else key)
    elif isinstance(form, dict):
        for key, inner in form.items():
            if value.get(key) is not None:
                check_form(value[key], inner, path, f"{where}.{key}" if where else key)
    elif form is str:
        _check_text(value, path, where)


def shown(value: Any) -> str:
    """The value as the file has it, its start if it is long."""
    text = json.dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _same_kind(value: Any, form: Any) -> bool:
    if isinstance(form, list):
        return isinstance(value, list)
    if isinstance(form, (dict, Each)):
        return isinstance(value, dict)
    if form is bool or isinstance(value, bool):
        return form is bool and isinstance(value, bool)
    if form is Id:
        return isinstance(value, int) and 0 <= value < 1 << 31
    return isinstance(value, (int, float) if form is float else form)


def _described(form: Any) -> str:
    if isinstance(form, list):
        return "a list"
    return "an object" if isinstance(form, (dict, Each)) else NAMES[form]


def _check_text(text: str, path: Path, where: str) -> None:
    """JSON can spell half of a surrogate pair, which is no character."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ConvertError(f"{path}: '{where}' has a text with a lone surrogate: {shown(text)}")
