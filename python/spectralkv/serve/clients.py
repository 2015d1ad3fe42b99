"""Work for a client that may go away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from starlette.types import Receive

SEND_TIMEOUT = 60  # seconds that a client may take for what it is sent


async def while_connected(receive: Receive, work: Callable[[anyio.CancelScope], Awaitable[None]]) -> None:
    """Runs work, in the scope that it is given, until it is done or the client has gone. receive: of a request whose
    body has been read."""

    async def run(scope: anyio.CancelScope) -> None:
        await work(scope)
        scope.cancel()

    async def watch(scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(run, group.cancel_scope)
        group.start_soon(watch, group.cancel_scope)
