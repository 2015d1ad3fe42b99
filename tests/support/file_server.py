"""A server on this machine that gives files, with every fault that a test asks for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file and what is odd about it. cut: bytes after which the connection ends, for each request in turn; length: a
    Content-Length that lies; headers: more of them; ranges: whether a rest is given; status: in the place of a file;
    redirect: where to; chunked: without a length."""

    content: bytes = b""
    etag: str | None = None  # None: made of the content; "": none
    cut: list[int] = field(default_factory=list)
    length: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    status: list[int] = field(default_factory=list)
    redirect: str = ""
    chunked: bool = False
    pause: float = 0.0  # seconds after each 64 KiB

    @property
    def validator(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"' if self.etag is None else self.etag


class Server(ThreadingHTTPServer):
    """files: by path. asked: (path, Range header or "") of every GET. missing: headers of what is not there."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.missing: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[str], tuple[bytes, str] | None] = lambda path: None  # (body, type) of other paths

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._give(body=False)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range", "")))
        self._give(body=True)

    def _give(self, body: bool) -> None:
        self.close_connection = True
        file = self.server.files.get(self.path.partition("?")[0])
        if file is None:
            answer = self.server.answer(self.path)
            self.send_response(200 if answer else 404)
            data, kind = answer or (b"nothing here", "text/plain")
            more = {} if answer else self.server.missing
            self._head({"Content-Type": kind, "Content-Length": str(len(data)), **more})
            self.wfile.write(data if body else b"")
            return
        if file.status and (status := file.status.pop(0)) != 200:
            self.send_response(status)
            self._head({"Content-Length": "0", **file.headers})
        elif file.redirect:
            self.send_response(302)
            self._head({"Location": file.redirect, "Content-Length": "0", **file.headers})
        else:
            self._give_file(file, body)

    def _head(self, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _give_file(self, file: Served, body: bool) -> None:
        start, size = 0, len(file.content)
        wanted, guard = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and file.ranges and (guard is None or guard == file.validator):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": file.validator} if file.validator else {}
        if start > 0 and start >= size:
            self.send_response(416)
            self._head({"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        self.send_response(206 if start else 200)
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if file.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(size - start if file.length is None else file.length)
        self._head({**headers, **file.headers})
        data = file.content[start:]
        if body and file.cut:
            data = data[: file.cut.pop(0)]
        if body:
            self._send(data, file)

    def _send(self, data: bytes, file: Served) -> None:
        for at in range(0, len(data), 1 << 16):
            piece = data[at : at + (1 << 16)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if file.chunked else piece)
            if file.pause:
                self.wfile.flush()
                threading.Event().wait(file.pause)
        if file.chunked:
            self.wfile.write(b"0\r\n\r\n")


@contextmanager
def serving() -> Iterator[Server]:
    """A server while the block runs."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
