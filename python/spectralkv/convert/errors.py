"""What the converter raises, and the reading of JSON files with errors that name them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class ConvertError(ValueError):
    """A checkpoint cannot be converted; the message names file, tensor or key and what was expected."""


def read_json(path: Path) -> dict[str, Any]:
    """The object that the file holds."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConvertError(f"{path} is missing") from error
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConvertError(f"{path} holds a {type(value).__name__}, expected an object")
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The same, or an empty object for a file that does not exist."""
    return read_json(path) if path.exists() else {}
