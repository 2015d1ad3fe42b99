"""Texts that are measured: UTF-8, whatever an editor saved them as; cpp/cli/text_encoding.cc does it for the core."""

from __future__ import annotations

import codecs
from pathlib import Path

WIDE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: Path) -> str:
    """The text without its byte order mark. ValueError names the encoding of one that is not UTF-8, or the first byte
    that is none."""
    data = path.read_bytes()
    for mark, name in WIDE:
        if data.startswith(mark):
            raise ValueError(f"[eval] {path} is a text in {name}, expected UTF-8")
    if b"\0" in data:
        raise ValueError(f"[eval] {path} has NUL bytes: expected a text in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"[eval] {path} is no UTF-8 text: {error}") from error
