"""Writes the three texts that docs/evaluation.md measures on: prose, a language reference, source code.

    python tests/bench/texts.py FOLDER [--handbook FOLDER]

Prose is the Debian Administrator's Handbook (GPL-2+ or CC BY-SA 3.0), from Debian's package debian-handbook; the others
come with Python. Each text's SHA-256 is printed: other versions of Python or of the handbook give other texts.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

HANDBOOK = Path("/usr/share/doc/debian-handbook/html/en-US")


class Paragraphs(HTMLParser):
    """Collects the text of <div class="para">, each once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self._open: list[bool] = []  # for each div that is open, whether it is a paragraph

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "div":
            is_paragraph = ("class", "para") in attrs
            self._open.append(is_paragraph)
            if is_paragraph:
                self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "div" and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1]:
            self.paragraphs[-1] += data


def handbook(folder: Path) -> str:
    """The paragraphs of every section of the handbook, a line each."""
    pages = sorted(folder.glob("sect.*.html"))
    if not pages:
        sys.exit(f"{folder} holds no sections of the handbook: apt-get install debian-handbook, or name its folder")
    parser = Paragraphs()
    for page in pages:
        parser.feed(page.read_text(encoding="utf-8"))
    return "\n".join(filter(None, (re.sub(r"\s+", " ", text).strip() for text in parser.paragraphs)))


def reference() -> str:
    """Python's language reference, as `help()` has it."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--handbook", type=Path, default=HANDBOOK)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    texts = {"prose": handbook(options.handbook), "reference": reference(), "source": inspect.getsource(argparse)}
    for name, text in texts.items():
        path = options.folder / f"{name}.txt"
        data = (text + "\n").encode()
        path.write_bytes(data)
        print(f"{hashlib.sha256(data).hexdigest()}  {path}  {len(text)} characters")
