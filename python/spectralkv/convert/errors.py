"""What the converter raises."""

from __future__ import annotations


class ConvertError(ValueError):
    """A checkpoint cannot be converted; the message names file, tensor or key and what was expected."""
