"""The routes beside the completions: models, tokens, templates, health, metrics, and the page."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spectralkv.chat import Marked
from spectralkv.serve.bodies import Conversation, DetokenizeBody, TokenizeBody
from spectralkv.serve.completions import chat_completions, completions, read_body, service_of
from spectralkv.serve.errors import ApiError
from spectralkv.serve.openapi import description
from spectralkv.serve.slots import restore, save, slots

PAGE = {"/": ("index.html", "text/html"), "/page/app.js": ("app.js", "text/javascript")}
PAGE["/page/style.css"] = ("style.css", "text/css")


async def health(request: Request) -> Response:
    failure = service_of(request).worker.failure
    return JSONResponse({"status": "ok"}) if failure is None else ApiError(503, failure).response()


def _model(request: Request) -> dict[str, Any]:
    service = service_of(request)
    config = service.engine.config
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "spectralkv",
        "meta": {
            "description": service.engine.description,
            "n_ctx": service.n_ctx,
            "n_ctx_train": config["context_length"],
            "n_vocab": service.tokenizer.n_vocab,
            "n_embd": config["n_embd"],
            "cache": {name: getattr(service.worker.scheduler, name) for name in ("type_k", "type_v", "calibration")},
            "compare": getattr(request.app.state, "compare", None),
        },
    }


async def models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_model(request)]})


async def model(request: Request) -> Response:
    if request.path_params["name"] != service_of(request).name:
        raise ApiError(404, "there is no such model here", "model", "model_not_found")
    return JSONResponse(_model(request))


async def tokenize(request: Request) -> Response:
    body, tokenizer = await read_body(request, TokenizeBody), service_of(request).tokenizer
    data = body.content.encode("utf-8")
    return JSONResponse(
        {"tokens": await run_in_threadpool(tokenizer.encode, data, body.add_special, body.parse_special)}
    )


async def detokenize(request: Request) -> Response:
    body, tokenizer = await read_body(request, DetokenizeBody), service_of(request).tokenizer
    if (largest := max(body.tokens, default=0)) >= tokenizer.n_vocab:
        raise ApiError(400, f"there is no token {largest}: the vocabulary ends at {tokenizer.n_vocab - 1}", "tokens")
    text = await run_in_threadpool(tokenizer.decode, body.tokens, True)
    return JSONResponse({"content": text.decode("utf-8", "replace")})


async def apply_template(request: Request) -> Response:
    body = await read_body(request, Conversation)
    prompt = await service_of(request).render(body, None)
    text = prompt.plain() if isinstance(prompt, Marked) else prompt
    # A template may write bytes that are no text.
    return JSONResponse({"prompt": text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")})


async def metrics(request: Request) -> Response:
    text = service_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def cache(request: Request) -> Response:
    """The line of the page: what the caches hold."""
    return JSONResponse(service_of(request).cache_line())


async def openapi(request: Request) -> Response:
    return JSONResponse(description())


async def page(request: Request) -> Response:
    name, kind = PAGE[request.url.path]  # a fixed table: no path of a request becomes a file's name
    return Response(
        files("spectralkv.serve").joinpath("page", name).read_bytes(),
        media_type=kind,
        headers={"Cache-Control": "no-cache"},
    )


PAGES = [Route(path, page) for path in PAGE]
ROUTES = [
    Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/models", models),
    Route("/v1/models/{name}", model),
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/apply-template", apply_template, methods=["POST"]),
    Route("/health", health),
    Route("/metrics", metrics),
    Route("/slots", slots),
    Route("/slots/save", save, methods=["POST"]),
    Route("/slots/restore", restore, methods=["POST"]),
    Route("/cache", cache),
    Route("/openapi.json", openapi),
]
