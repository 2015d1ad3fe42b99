"""Models by their address: fetched with resume, checked, kept by the address in the cache folder."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import sys
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tqdm import tqdm

from spectralkv.atomic import destination
from spectralkv.fetch.errors import PullError
from spectralkv.fetch.http import Answer, BadRange, Interrupted, ask, check_url, shown
from spectralkv.fetch.place import (
    MAGIC,
    cache_folder,
    check_magic,
    finish,
    locked,
    need_space,
    on_terminal,
    part_names,
    part_of,
    sha256_of,
    storing,
)

CHUNK = 256 << 10
TRIES = 5  # in a row that bring nothing
MOST_TRIES = 200
PAUSE = 0.5  # seconds before the second try; each further pause is twice as long
PLAIN = "/?:@!$&'()*+,;=~%-._"  # of an address, as it is
KEPT = "; what is fetched stays, and the same command goes on from there"


def fetch_url(url: str, force: bool) -> str:
    """Makes sure that the file of an address is in the cache folder, and of a split model all parts; returns the path,
    of the first part."""
    check_url(url)
    addresses = part_addresses(url)
    folder = cache_folder() / "urls" / hashlib.sha256(addresses[0].encode()).hexdigest()[:16]
    paths = [folder / file_name(address) for address in addresses]
    if not force and all(path.exists() for path in paths):
        return str(paths[0])
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "pull.lock", paths[0].name) as waited:
            wanted = [(a, p) for a, p in zip(addresses, paths, strict=True) if (force and not waited) or not p.exists()]
            for address, path in wanted:
                _fetch(address, path, alone=len(paths) == 1)
            if wanted and len(paths) > 1:  # parts are found by their names
                _check_whole(paths, url)
    return str(paths[0])


def part_addresses(url: str) -> list[str]:
    """The addresses of all parts, where the file's name says that it is one of several; else the address."""
    parts = urlsplit(url)
    parts = parts._replace(path=quote(parts.path, PLAIN), query=quote(parts.query, PLAIN), fragment="")
    return [parts._replace(path=path).geturl() for path in part_names(parts.path)]


def file_name(url: str) -> str:
    """A plain name in the cache for the last part of an address, whatever that holds."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    name = re.sub(r"[^A-Za-z0-9._+=@-]", "_", name)[-150:].lstrip(".-_")
    return name if name.endswith(".gguf") else "model.gguf"


class Partial:
    """A file on its way: its bytes so far, and beside them what the server said of the whole."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url, self.note = part_of(path), url, path.with_name(f"{path.name}.part.json")
        self.validator, self.sha256 = "", ""
        self.size: int | None = None
        try:
            said = json.loads(self.note.read_bytes())
            self.validator, self.sha256 = str(said["validator"]), str(said["sha256"])
            self.size = None if said["size"] is None else int(said["size"])
        except (OSError, ValueError, KeyError, TypeError):
            self.clear()  # bytes of which nothing is known are of no use
        if not self.validator or self.length < len(MAGIC):
            self.clear()

    @property
    def length(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def start(self) -> int:
        """Where the rest begins that can be asked for."""
        return self.length if self.validator else 0

    def clear(self) -> None:
        """Forgets it."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.validator, self.sha256, self.size = "", "", None

    def take_head(self, answer: Answer) -> None:
        """Keeps what the server says; a new version of the file begins anew."""
        if answer.start > 0:
            # What the answer leaves out is as it was: a server that knows If-Range gives a rest of that version alone.
            size, sha256 = answer.size or self.size, answer.sha256 or self.sha256
            if (answer.validator or self.validator, size, sha256) != (self.validator, self.size, self.sha256):
                self.clear()
                raise Interrupted("the file has changed on the server")
            return
        self.clear()
        self.path.touch()
        self.validator, self.size, self.sha256 = answer.validator, answer.size, answer.sha256
        said = {"url": shown(self.url), "validator": self.validator, "sha256": self.sha256, "size": self.size}
        self.note.write_text(json.dumps(said))

    def read(self, answer: Answer) -> None:
        """Appends what the server sends, up to the size that it said."""
        with (
            self.path.open("ab") as file,
            tqdm(
                total=self.size,
                initial=self.length,
                unit="B",
                unit_scale=True,
                desc="fetching",
                file=sys.stderr,
                disable=not on_terminal(),
            ) as bar,
        ):
            length = self.length
            while self.size is None or length < self.size:
                first = length < len(MAGIC)
                data = receive(answer, len(MAGIC) if first else min(CHUNK, (self.size or 1 << 62) - length), first)
                if not data:
                    break
                if first:
                    check_magic(data, shown(self.url))
                file.write(data)
                length += len(data)
                bar.update(len(data))
        if self.size is not None and length < self.size:
            raise Interrupted(f"the server ended after {length} of {self.size} bytes")
        if length < len(MAGIC):
            raise PullError(f"[pull] {shown(self.url)} gives {length} bytes, which is no GGUF file")


def receive(answer: Answer, most: int, whole: bool) -> bytes:
    """The next bytes; nothing at the end. whole: all of them, unless the file ends. By read1 alone: read takes the
    length of a chunk from the server, be it below 0, and would keep all of it in memory."""
    data = b""
    try:
        while len(data) < most and (piece := answer.body.read1(most - len(data))):
            data += piece[: most - len(data)]
            if not whole:
                break
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise Interrupted(f"the connection broke: {error}") from error
    return data


def _fetch(url: str, path: Path, alone: bool) -> None:
    """One file, with as many tries as bring something. alone: it is no part of a split model, and is checked before it
    takes the place of what is there."""
    path = destination(path)
    part = Partial(path, url)
    print(f"fetching {shown(url)}{f' from byte {part.start} on' if part.start else ''}", file=sys.stderr, flush=True)
    vain = 0
    for _ in range(MOST_TRIES):
        before = part.length
        try:
            _read_on(url, part)
            break
        except Interrupted as error:
            vain = 0 if part.length > before else vain + 1
            if vain == TRIES:
                kept = KEPT if part.start else ""
                if not kept:
                    part.clear()
                raise PullError(f"[pull] {shown(url)}: {error}{kept}") from error
            time.sleep(PAUSE * 2**vain)
        except PullError:
            if part.length < len(MAGIC) or not part.validator:
                part.clear()
            raise
    else:
        raise PullError(f"[pull] {shown(url)}: the connection broke {MOST_TRIES} times")
    if part.sha256 and (found := sha256_of(part.path)) != part.sha256:
        expected = part.sha256
        part.clear()
        raise PullError(f"[pull] {shown(url)}: the file has SHA-256 {found}, the site says {expected}")
    if alone:
        try:
            _check_whole([part.path], url)
        except PullError:
            part.clear()
            raise
    finish(part.path, path)
    part.note.unlink(missing_ok=True)


def _read_on(url: str, part: Partial) -> None:
    if part.size is not None and part.length == part.size:
        return
    try:
        answer = ask(url, part.start, part.validator)
    except BadRange as error:
        if error.size is not None and error.size == part.length > 0:
            return  # it was whole
        part.clear()
        raise Interrupted("the file has changed on the server") from error
    with answer.body:
        part.take_head(answer)
        if part.size is not None:
            need_space(part.path.parent, part.size - part.length)
        with storing(part.path.parent, KEPT if part.validator else ""):
            part.read(answer)


def _check_whole(paths: list[Path], url: str) -> None:
    """Every tensor lies in the files: what a server called whole may have been cut."""
    from spectralkv import _core

    try:
        _core.gguf_info(paths[0], any_type=True)
    except (ValueError, OSError) as error:
        for path in paths:
            path.unlink(missing_ok=True)
        raise PullError(f"[pull] what {shown(url)} gives is not whole, or damaged: {error}") from error
