"""One of several servers of a model behind Ray Serve: the application of a service, asked by calls and not by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from starlette.applications import Starlette

from spectralkv.serve.errors import HANDLERS
from spectralkv.serve.prefixes import Forward
from spectralkv.serve.routes import ROUTES
from spectralkv.serve.service import Service, ServiceOptions

Messages = MutableMapping[str, Any]


class Replica:
    """What Ray runs: it loads the model when it is made, and Ray makes another one when its health check fails."""

    def __init__(self, options: ServiceOptions) -> None:
        self._service = Service(options)
        self._app = Starlette(routes=ROUTES, exception_handlers=HANDLERS)
        self._app.state.service = self._service

    def check_health(self) -> None:
        if self._service.worker.failure is not None:
            raise RuntimeError(self._service.worker.failure)

    async def report(self) -> dict[str, Any]:
        """What the front tells of each replica."""
        service = self._service
        return {
            "name": _name(),
            "failure": service.worker.failure,
            "cache": service.cache_line(),
            "slots": service.slots(),
            "metrics": service.metrics.text(),
        }

    async def ask(self, request: Forward) -> AsyncIterator[list[Messages]]:
        """The messages of the answer (ASGI's), as many at a time as there are. Who stops reading ends the request."""
        messages: asyncio.Queue[Messages | None] = asyncio.Queue()
        given = False

        async def receive() -> Messages:
            nonlocal given
            if given:
                await asyncio.Event().wait()  # whoever goes away cancels the call
            given = True
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Messages) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-replica", _name().encode())]}
            messages.put_nowait(message)

        task = asyncio.ensure_future(self._app(_scope(request), receive, send))
        task.add_done_callback(lambda _: messages.put_nowait(None))
        try:
            ended = False
            while not ended:
                some = [await messages.get()]
                while not messages.empty():
                    some.append(messages.get_nowait())
                ended = some[-1] is None
                if told := [message for message in some if message is not None]:
                    yield told
            task.result()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def _scope(request: Forward) -> Messages:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "client": None,
        "server": None,
    }


def _name() -> str:
    from ray import serve

    return str(serve.get_replica_context().replica_id.unique_id)
