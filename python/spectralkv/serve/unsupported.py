"""Routes of llama-server's for what there is not: they say so, and why."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spectralkv.serve.errors import ApiError

_RANKING = "the model writes text: it has no head that ranks documents"
_ADAPTERS = "adapters are not read: merge one into the model's file"
# Method and path: why not.
REASONS = {
    ("POST", "/rerank"): _RANKING,
    ("POST", "/reranking"): _RANKING,
    ("POST", "/v1/rerank"): _RANKING,
    ("POST", "/v1/reranking"): _RANKING,
    ("GET", "/lora-adapters"): _ADAPTERS,
    ("POST", "/lora-adapters"): _ADAPTERS,
    ("POST", "/props"): "nothing of the server changes while it runs",
}


def _route(method: str, path: str, reason: str) -> Route:
    async def refuse(_: Request) -> Response:
        raise ApiError(501, reason, code="not_supported")

    return Route(path, refuse, methods=[method])


UNSUPPORTED = [_route(method, path, reason) for (method, path), reason in REASONS.items()]
