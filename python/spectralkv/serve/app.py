"""The application: routes, refusals and guards around one service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from spectralkv.serve.errors import HANDLERS
from spectralkv.serve.guard import Guard, GuardOptions
from spectralkv.serve.routes import ROUTES
from spectralkv.serve.service import Service


def make_app(service: Service, guard: GuardOptions, cors_origins: Sequence[str] = ()) -> Starlette:
    """cors_origins: pages of other origins that may use the server; none by default."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    middleware = [Middleware(Guard, guard)]
    if cors_origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        middleware.insert(0, cors)
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.state.service = service
    return app
