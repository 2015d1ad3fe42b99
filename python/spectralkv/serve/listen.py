"""uvicorn set up for the application: its limits, and a protocol that does not wait for ever."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.applications import Starlette

from spectralkv.serve.protocol import HEAD_BYTES, ImpatientProtocol


def make_server(app: Starlette, *, connections: int, **options: Any) -> uvicorn.Server:
    """connections: at a time, at most; options: uvicorn's host, port and so on."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        limit_concurrency=connections,
        server_header=False,
        ws="none",
        **options,
    )
    return uvicorn.Server(config)
