"""The routes beside the completions: models, tokens, templates, health, metrics, and the page."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spectralkv._core import Tokenizer
from spectralkv.chat import Marked
from spectralkv.serve.bodies import Conversation, DetokenizeBody, TokenizeBody
from spectralkv.serve.completions import as_text, chat_completions, completions, read_body, service_of
from spectralkv.serve.embeddings import embeddings, open_embeddings
from spectralkv.serve.errors import ApiError
from spectralkv.serve.messages import count_tokens, messages
from spectralkv.serve.native import completion, infill, props
from spectralkv.serve.openapi import description
from spectralkv.serve.responses import kept_response, responses
from spectralkv.serve.slots import restore, save, slot, slots
from spectralkv.serve.unsupported import UNSUPPORTED

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
    parts = body.content if isinstance(body.content, list) else [body.content]

    def encode() -> list[int]:
        """Texts between ids; what begins a text is in front where the first one is a text."""
        tokens: list[int] = []
        for i, part in enumerate(parts):
            if isinstance(part, int):
                tokens.append(part)
            else:
                tokens += tokenizer.encode(part.encode(), body.add_special and i == 0, body.parse_special)
        return tokens

    tokens = await run_in_threadpool(encode)
    if not body.with_pieces:
        return JSONResponse({"tokens": tokens})
    check_tokens(tokens, tokenizer, "content")
    return JSONResponse({"tokens": [{"id": token, "piece": _piece(tokenizer.piece(token, True))} for token in tokens]})


def _piece(data: bytes) -> str | list[int]:
    """A text, or bytes that are none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return list(data)


def check_tokens(tokens: list[int], tokenizer: Tokenizer, param: str) -> None:
    if (largest := max(tokens, default=0)) >= tokenizer.n_vocab:
        raise ApiError(400, f"there is no token {largest}: the vocabulary ends at {tokenizer.n_vocab - 1}", param)


async def detokenize(request: Request) -> Response:
    body, tokenizer = await read_body(request, DetokenizeBody), service_of(request).tokenizer
    check_tokens(body.tokens, tokenizer, "tokens")
    text = await run_in_threadpool(tokenizer.decode, body.tokens, True)
    return JSONResponse({"content": text.decode("utf-8", "replace")})


async def apply_template(request: Request) -> Response:
    body = await read_body(request, Conversation)
    prompt = await service_of(request).render(body, None)
    return JSONResponse({"prompt": as_text(prompt.plain() if isinstance(prompt, Marked) else prompt)})


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
    Route("/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    Route("/v1/responses", responses, methods=["POST"]),
    Route("/responses", responses, methods=["POST"]),
    Route("/v1/responses/{id}", kept_response, methods=["GET", "DELETE"]),
    Route("/completion", completion, methods=["POST"]),
    Route("/completions", completion, methods=["POST"]),
    Route("/infill", infill, methods=["POST"]),
    Route("/props", props),
    Route("/v1/embeddings", open_embeddings, methods=["POST"]),
    Route("/embeddings", embeddings, methods=["POST"]),
    Route("/embedding", embeddings, methods=["POST"]),
    Route("/v1/models", models),
    Route("/models", models),
    Route("/v1/models/{name}", model),
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/apply-template", apply_template, methods=["POST"]),
    Route("/health", health),
    Route("/v1/health", health),
    Route("/metrics", metrics),
    Route("/slots", slots),
    Route("/slots/save", save, methods=["POST"]),
    Route("/slots/restore", restore, methods=["POST"]),
    Route("/slots/{id}", slot, methods=["POST"]),
    Route("/cache", cache),
    Route("/openapi.json", openapi),
    *UNSUPPORTED,
]
