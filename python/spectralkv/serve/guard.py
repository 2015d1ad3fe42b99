"""What stands before every route: who may ask, from where, and how much and how slowly."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spectralkv.serve.errors import ApiError

OPEN_PATHS = (
    "/",
    "/health",
    "/v1/health",
    "/page/app.js",
    "/page/style.css",
)  # without a key: nothing of anybody's is in them
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)


@dataclass(frozen=True)
class GuardOptions:
    """keys: any of them opens; none: no key is asked for. hosts: names that the Host header may have; none: any.
    body_bytes: of a body. body_seconds: for the whole of it to arrive."""

    keys: Sequence[str] = ()
    hosts: Sequence[str] = ()
    body_bytes: int = 16 << 20
    body_seconds: float = 30


class Guard:
    """Refuses with OpenAI's error object; marks every answer so that browsers trust it with little."""

    def __init__(self, app: ASGIApp, options: GuardOptions) -> None:
        self._app, self._options = app, options
        self._keys = [key.encode() for key in options.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
            await self._app(scope, self._bounded(receive), marked)
        except ClientDisconnect:
            return  # within its body: there is nobody to answer
        except ApiError as error:
            if started:
                raise
            extra = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            await error.response(extra)(scope, receive, marked)

    def _check(self, scope: Scope, headers: Headers) -> None:
        options = self._options
        if options.hosts and _host_name(headers.get("host", "")) not in options.hosts:
            raise ApiError(403, "this name of the server is not one of those it answers to (--allowed-host)")
        if self._keys and scope["path"] not in OPEN_PATHS and scope["method"] != "OPTIONS":
            kind, _, given = headers.get("authorization", "").partition(" ")
            key = given.strip().encode() if kind.lower() == "bearer" else headers.get("x-api-key", "").strip().encode()
            # Each is compared in a time that its bytes do not tell, and all are.
            matches = [hmac.compare_digest(key, known) for known in self._keys]
            if True not in matches:
                said = "the API key is missing or wrong: Authorization: Bearer KEY, or X-Api-Key: KEY"
                raise ApiError(401, said, code="invalid_api_key")
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":  # what a page elsewhere can send without asking is another kind
                raise ApiError(415, "the body must be JSON: Content-Type: application/json")
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > options.body_bytes:
                raise _too_large(options.body_bytes)

    def _bounded(self, receive: Receive) -> Receive:
        options = self._options
        read, done, ends = 0, False, anyio.current_time() + options.body_seconds

        async def bounded() -> Message:
            nonlocal read, done
            if done:  # what comes now is the client's end
                return await receive()
            message: Message | None = None
            with anyio.CancelScope(deadline=ends):
                message = await receive()
            if message is None:
                raise ApiError(408, f"the body did not arrive within {options.body_seconds:g} seconds")
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                done = not message.get("more_body", False)
                if read > options.body_bytes:
                    raise _too_large(options.body_bytes)
            return dict(message)

        return bounded


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body has more than {limit} bytes")


def _host_name(host: str) -> str:
    """Without the port, as in "[::1]:8080"."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()
