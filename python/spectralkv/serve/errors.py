"""Refusals as OpenAI's error objects with the right status code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    501: "not_supported_error",
}
# Parts of a place that name one of several forms of a value, in pydantic's words, and no part of a body.
_FORM = re.compile(r"[A-Z]|constrained-|function-|literal\[|list\[|dict\[|(str|int|float|bool)$")


class ApiError(Exception):
    """What a request is refused with. param: the part of the body that is wrong."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        closes = {"Connection": "close"} if self.status in (408, 413) else {}  # the rest of the body is not read
        return JSONResponse(self.body(), self.status, headers={**closes, **(headers or {})})


def bare(error: BaseException | str) -> str:
    """The message of one of our errors without the mark of its room: "[chat] ..."."""
    text = str(error)
    return text.split("] ", 1)[1] if text.startswith("[") and "] " in text else text


def of_validation(error: ValidationError) -> ApiError:
    """The first thing that a body has wrong; of forms that it may have, what is wrong in the one it comes nearest."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    first = max(
        (each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]),
        key=lambda each: (len(each["loc"]), not each["type"].endswith("_type")),
    )
    place = ".".join(str(part) for part in first["loc"] if not _FORM.match(str(part)))
    message = f"{place}: {first['msg']}" if place else str(first["msg"])
    return ApiError(400, message, place or None)


async def _api(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail)).response(error.headers)


async def _internal(_: Request, error: Exception) -> Response:
    return ApiError(500, "the server failed, see its log").response()


HANDLERS: dict[Any, Any] = {ApiError: _api, HTTPException: _http, Exception: _internal}
