"""A server of a tiny model in a thread, for the tests that talk to it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from spectralkv.serve.app import make_app
from spectralkv.serve.guard import GuardOptions
from spectralkv.serve.listen import make_server
from spectralkv.serve.service import Service, ServiceOptions


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Running:
    """url: where it listens. service: what it runs."""

    url: str
    port: int
    service: Service

    def idle(self, seconds: float = 20) -> bool:
        """True as soon as nothing runs or waits any more."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stats = self.service.worker.scheduler.stats()
            if not self.service.worker.jobs and stats["running"] == stats["waiting"] == 0:
                return True
            time.sleep(0.02)
        return False


@contextlib.contextmanager
def serving(
    model: str,
    guard: GuardOptions | None = None,
    cors_origins: tuple[str, ...] = (),
    compare: str | None = None,
    **options: Any,
) -> Iterator[Running]:
    """Starts a server and ends it, with all of its threads."""
    settings = ServiceOptions(model=model, **{"n_ctx": 0, "n_threads": 2, **options})
    service = Service(settings)
    other = None if compare is None else Service(replace(settings, type_k=compare, type_v=compare), service)
    app = make_app(service, guard or GuardOptions(), cors_origins, other)
    server = make_server(app, connections=200, host="127.0.0.1", port=0, log_level="warning")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", port, service)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
