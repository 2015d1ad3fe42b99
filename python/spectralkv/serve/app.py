"""The application: routes, refusals and guards around one service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount

from spectralkv.serve.errors import HANDLERS
from spectralkv.serve.guard import Guard, GuardOptions
from spectralkv.serve.routes import PAGES, ROUTES
from spectralkv.serve.service import Service


def make_app(
    service: Service, guard: GuardOptions, cors_origins: Sequence[str] = (), compare: Service | None = None
) -> Starlette:
    """cors_origins: pages of other origins that may use it; none by default. compare: answers under /compare."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        for each in services:
            each.close()

    services = [service] if compare is None else [service, compare]
    routes: list[BaseRoute] = [*ROUTES, *PAGES]
    if compare is not None:
        other = Starlette(routes=ROUTES, exception_handlers=HANDLERS)
        other.state.service = compare
        routes.append(Mount("/compare", app=other))
    middleware = [Middleware(Guard, guard)]
    if cors_origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        middleware.insert(0, cors)
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.state.service = service
    app.state.compare = compare.options.type_k if compare is not None else None
    return app
