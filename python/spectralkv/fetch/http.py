"""One request for a file, or for the rest of it; what a server answers is not trusted."""

from __future__ import annotations

import base64
import binascii
import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any, cast
from urllib.parse import urlsplit

import spectralkv
from spectralkv.fetch.errors import PullError

TIMEOUT = 30.0  # seconds without a byte
PASSING = {408, 425, 429, 500, 502, 503, 504}  # what may be gone at the next try


class Interrupted(Exception):
    """The transfer broke off for a reason that may pass."""


class BadRange(Exception):
    """The server has no such rest of the file (416). size: of its whole file, where it says so."""

    def __init__(self, size: int | None) -> None:
        super().__init__("the server has no such range")
        self.size = size


@dataclass
class Answer:
    """body: from the byte `start` on. size: of the whole file, None: not said. validator: what If-Range takes, ""
    for none. sha256: of the whole file, "" where the site does not give it."""

    body: http.client.HTTPResponse
    start: int
    size: int | None
    validator: str
    sha256: str


def shown(url: str) -> str:
    """Without the query, which may be a secret."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def check_url(url: str) -> None:
    """PullError for what is no http or https address of a host."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise PullError(f"[pull] {url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise PullError(f"[pull] {url!r} is no address of http or https")
    if parts.username is not None or parts.password is not None:
        raise PullError("[pull] an address with a name and a password in it is not supported")
    if " " in url or not url.isprintable():
        raise PullError(f"[pull] {url!r} is no address: it has a space, or what is no character")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https alone, never from https to http, and keeps what a site says on the way."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            check_url(newurl)
        except PullError as error:
            raise PullError(f"{error} ({shown(req.full_url)} led there)") from error
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise PullError(f"[pull] {shown(req.full_url)} leads to {shown(newurl)}, which is not encrypted")
        self.said |= _said(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(redirects: _Redirects) -> urllib.request.OpenerDirector:
    """http and https, through the proxies of the environment; no handler of file: or ftp: or data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        redirects,
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _said(headers: Message) -> dict[str, str]:
    """What a site says of a whole file: its size, and its SHA-256 in hexadecimal digits."""
    said: dict[str, str] = {}
    if (headers.get("X-Linked-Size") or "").isdecimal():
        said["size"] = headers["X-Linked-Size"]
    linked = (headers.get("X-Linked-ETag") or "").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        said["sha256"] = linked
    for name, form in (("Repr-Digest", r"sha-256=:([A-Za-z0-9+/=]+):"), ("Digest", r"sha-256=([A-Za-z0-9+/=]+)")):
        if found := re.search(form, headers.get(name) or "", re.IGNORECASE):
            try:
                digest = base64.b64decode(found[1], validate=True)
            except binascii.Error:
                continue
            if len(digest) == 32:
                said["sha256"] = digest.hex()
    return said


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,40}", text.strip()) else None


def ask(url: str, start: int, validator: str) -> Answer:
    """Requests the file from the byte `start` on, of the version that `validator` names; the answer may begin at 0 all
    the same. Interrupted, BadRange, or PullError for what will not pass."""
    headers = {"User-Agent": f"spectralkv/{spectralkv.__version__}", "Accept-Encoding": "identity"}
    if start > 0:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    redirects = _Redirects()
    try:
        request = urllib.request.Request(url, headers=headers)
        body = cast(http.client.HTTPResponse, _opener(redirects).open(request, timeout=TIMEOUT))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                found = re.fullmatch(r"bytes \*/([0-9]{1,40})", error.headers.get("Content-Range") or "")
                raise BadRange(int(found[1]) if found else None) from error
            said = "".join(letter if letter.isprintable() else "?" for letter in str(error.reason))  # for terminals
            if error.code in PASSING:
                raise Interrupted(f"the server answers {error.code} {said}") from error
            hint = "; it asks for an account" if error.code in (401, 403) else ""
            raise PullError(f"[pull] {shown(url)}: the server answers {error.code} {said}{hint}") from error
    except urllib.error.URLError as error:
        raise Interrupted(str(error.reason)) from error
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise Interrupted(f"{type(error).__name__}: {error}") from error
    try:
        return _read_head(body, url, start, redirects.said)
    except BaseException:
        body.close()
        raise


def _read_head(body: http.client.HTTPResponse, url: str, start: int, said: dict[str, str]) -> Answer:
    if (body.headers.get("Content-Encoding") or "identity").lower() != "identity":
        raise PullError(f"[pull] {shown(url)}: the server packs the file, which it was asked not to do")
    length = _whole_number(body.headers.get("Content-Length"))
    if body.status == 206:
        found = re.fullmatch(r"bytes ([0-9]{1,40})-([0-9]{1,40})/([0-9]{1,40}|\*)", body.headers["Content-Range"] or "")
        if not found or int(found[1]) != start:
            raise Interrupted("the server gives another part of the file than it was asked for")
        size = int(found[3]) if found[3] != "*" else None
    elif body.status == 200:
        start, size = 0, length
    else:
        raise PullError(f"[pull] {shown(url)}: the server answers {body.status}, which is no file")
    said = said | _said(body.headers)
    linked = _whole_number(said.get("size"))
    if linked is not None and size is not None and linked != size:
        raise PullError(f"[pull] {shown(url)}: the site says {linked} bytes, the server sends {size}")
    etag = body.headers.get("ETag") or ""
    validator = etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else body.headers.get("Last-Modified") or ""
    return Answer(body, start, linked if size is None else size, validator, said.get("sha256", ""))
