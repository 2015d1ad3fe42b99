"""The routes of embeddings: OpenAI's, and llama-server's own."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spectralkv.serve.bodies import EmbeddingBody, OpenEmbeddingBody
from spectralkv.serve.completions import read_body, service_of
from spectralkv.serve.embedder import Embedder
from spectralkv.serve.errors import ApiError
from spectralkv.serve.service import Service

MOST_NUMBERS = 1 << 22  # of an answer with one for each token


def _embedder(service: Service) -> Embedder:
    if service.embedder is None:
        raise ApiError(404, "the server was started without --embeddings")
    return service.embedder


async def _embedded(
    request: Request, given: Any, param: str, norm: int | None
) -> tuple[list[NDArray[np.float32]], int]:
    """What is asked for, and how many tokens it has."""
    service = service_of(request)
    embedder = _embedder(service)
    texts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    tokens = [await service.encode(text, param) for text in texts]
    numbers = sum(map(len, tokens)) * service.engine.config["n_embd"]
    if embedder.pooling == "none" and numbers > MOST_NUMBERS:
        raise ApiError(400, f"--pooling none would give {numbers} numbers; {MOST_NUMBERS} are the most", param)
    norm = service.options.embd_normalize if norm is None else norm
    made = await embedder.embed(tokens, norm, request.receive)
    return made, sum(map(len, tokens))


async def open_embeddings(request: Request) -> Response:
    body, service = await read_body(request, OpenEmbeddingBody), service_of(request)
    if _embedder(service).pooling == "none":
        raise ApiError(400, "--pooling none gives one for each token, which this form has no place for", "input")
    made, n = await _embedded(request, body.input, "input", body.embd_normalize)

    def shown(row: NDArray[np.float32]) -> Any:
        if body.encoding_format == "base64":
            return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
        return row.tolist()

    def answer() -> Response:
        data = [{"object": "embedding", "index": i, "embedding": shown(row)} for i, row in enumerate(made)]
        usage = {"prompt_tokens": n, "total_tokens": n}
        return JSONResponse({"object": "list", "data": data, "model": service.name, "usage": usage})

    return await run_in_threadpool(answer)


async def embeddings(request: Request) -> Response:
    body = await read_body(request, EmbeddingBody)
    given, param = (body.content, "content") if body.input is None else (body.input, "input")
    if given is None:
        raise ApiError(400, "content or input says what is to be embedded", "content")
    made, _ = await _embedded(request, given, param, body.embd_normalize)

    def answer() -> Response:
        return JSONResponse([{"index": i, "embedding": np.atleast_2d(row).tolist()} for i, row in enumerate(made)])

    return await run_in_threadpool(answer)
