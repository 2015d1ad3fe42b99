"""The server's own description at /openapi.json, made of the declarations that requests are checked by."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pydantic.json_schema import models_json_schema

from spectralkv import _core
from spectralkv.serve.bodies import (
    Body,
    ChatBody,
    CompletionBody,
    Conversation,
    CountBody,
    DetokenizeBody,
    EmbeddingBody,
    InfillBody,
    MessagesBody,
    NativeBody,
    OpenEmbeddingBody,
    RestoreBody,
    SaveBody,
    SlotBody,
    TokenizeBody,
)
from spectralkv.serve.response_bodies import ResponsesBody
from spectralkv.serve.slots import ACTIONS
from spectralkv.serve.unsupported import REASONS

# Path: the body's declaration, or None for GET; what it does.
OPERATIONS: tuple[tuple[str, type[Body] | None, str], ...] = (
    ("/v1/chat/completions", ChatBody, "answer a chat; with stream, as server-sent events"),
    ("/v1/completions", CompletionBody, "continue a text"),
    ("/chat/completions", ChatBody, "as /v1/chat/completions"),
    ("/v1/messages", MessagesBody, "answer a chat in Anthropic's form"),
    ("/v1/messages/count_tokens", CountBody, "how many tokens such a chat has"),
    ("/v1/responses", ResponsesBody, "answer a chat in the form of OpenAI's Responses API"),
    ("/responses", ResponsesBody, "as /v1/responses"),
    ("/v1/responses/{id}", None, "refused: no responses are kept"),
    ("/completion", NativeBody, "continue a text, as llama-server has it; with stream, as server-sent events"),
    ("/completions", NativeBody, "as /completion"),
    ("/infill", InfillBody, "write what stands between a prefix and a suffix"),
    ("/v1/embeddings", OpenEmbeddingBody, "embed texts, where the server was started for it"),
    ("/embeddings", EmbeddingBody, "the same in llama-server's form"),
    ("/embedding", EmbeddingBody, "as /embeddings"),
    ("/props", None, "what requests get by default"),
    ("/models", None, "as /v1/models"),
    ("/v1/health", None, "as /health"),
    ("/tokenize", TokenizeBody, "token ids of a text"),
    ("/detokenize", DetokenizeBody, "the text of token ids"),
    ("/apply-template", Conversation, "the prompt that a chat becomes"),
    ("/v1/models", None, "the one model"),
    ("/health", None, "whether it works"),
    ("/metrics", None, "counts for Prometheus"),
    ("/slots", None, "requests that run or wait"),
    ("/slots/save", SaveBody, "save what is kept of a prompt to the operator's folder"),
    ("/slots/restore", RestoreBody, "keep what a saved file holds"),
    ("/slots/{id}", SlotBody, "the same for what the last request of a slot has read and written, or forget it"),
    ("/cache", None, "what the KV caches hold"),
    ("/openapi.json", None, "this description"),
)
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "/v1/responses/{id}": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    "/slots/{id}": [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}},
        {"name": "action", "in": "query", "required": True, "schema": {"enum": list(ACTIONS)}},
    ],
}
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _name(path: str) -> str:
    return re.sub(r"\W+", "_", path).strip("_")


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """OpenAPI 3.1."""
    kinds = [(kind, "validation") for _, kind, _ in OPERATIONS if kind is not None]
    _, schemas = models_json_schema(kinds, by_alias=True, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    error = {"$ref": "#/components/schemas/Error"}
    paths: dict[str, Any] = {}
    for path, kind, text in OPERATIONS:
        operation: dict[str, Any] = {
            "summary": text,
            "operationId": _name(path),
            **({"parameters": PARAMETERS[path]} if path in PARAMETERS else {}),
            "responses": {"200": {"description": "done"}, "default": _answer("refused", error)},
        }
        if kind is not None:
            schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths[path] = {"get" if kind is None else "post": operation}
    for (method, path), reason in REASONS.items():
        answers = {code: _answer("refused", error) for code in ("501", "default")}
        refused = {"summary": f"refused: {reason}", "responses": answers}
        name = f"{method.lower()}_{_name(path)}"
        paths.setdefault(path, {})[method.lower()] = {"operationId": name, **refused}
    return {
        "openapi": "3.1.0",
        "info": {"title": "spectralkv", "version": _core.version, "description": "Many chats at a time (OpenAI's API)"},
        "paths": paths,
        "components": {
            "schemas": {**schemas["$defs"], "Error": ERROR},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
        "security": [{}, {"key": []}, {"header": []}],
    }
