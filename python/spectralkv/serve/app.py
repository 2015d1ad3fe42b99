"""The application: routes, refusals and guards around one service, or in front of several replicas of one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount

from spectralkv.serve.errors import HANDLERS
from spectralkv.serve.guard import Guard, GuardOptions
from spectralkv.serve.routes import PAGES, ROUTES
from spectralkv.serve.service import Service


def guarded(
    routes: Sequence[BaseRoute], guard: GuardOptions, cors_origins: Sequence[str], close: Callable[[], None]
) -> Starlette:
    """cors_origins: pages of other origins that may use it. close: is called at the end."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(close)

    middleware = [Middleware(Guard, guard)]
    if cors_origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        middleware.insert(0, cors)
    return Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)


def make_app(
    service: Service, guard: GuardOptions, cors_origins: Sequence[str] = (), compare: Service | None = None
) -> Starlette:
    """compare: answers under /compare."""

    def close() -> None:
        for each in (service, compare):
            if each is not None:
                each.close()

    routes: list[BaseRoute] = [*ROUTES, *PAGES]
    if compare is not None:
        other = Starlette(routes=ROUTES, exception_handlers=HANDLERS)
        other.state.service = compare
        routes.append(Mount("/compare", app=other))
    app = guarded(routes, guard, cors_origins, close)
    app.state.service = service
    app.state.compare = compare.worker.scheduler.type_k if compare is not None else None
    return app
