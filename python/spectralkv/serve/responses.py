"""The routes /v1/responses: chats in the form of OpenAI's Responses API, answered as chat completions are."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from spectralkv.serve.answers import Answers, Result, timings
from spectralkv.serve.bodies import AnySampling, ChatBody
from spectralkv.serve.completions import read_body, service_of, start_chat, stream, whole
from spectralkv.serve.errors import ApiError, of_validation
from spectralkv.serve.response_bodies import CallItem, FlatToolChoice, MessageItem, ResponsesBody, TextFormat, TextItem

# What would need responses that are kept.
KEPT = ("previous_response_id", "conversation", "prompt", "background")


def _text(content: str | list[TextItem]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _format(body: ResponsesBody) -> TextFormat | None:
    return body.text.format if body.text else None


def _messages(body: ResponsesBody) -> list[Result]:
    """Calls that follow one another, or what an assistant says, are of one message."""
    messages: list[Result] = [{"role": "system", "content": body.instructions}] if body.instructions else []
    if isinstance(body.input, str):
        return [*messages, {"role": "user", "content": body.input}]
    for item in body.input:
        if isinstance(item, MessageItem):
            messages.append({"role": item.role, "content": _text(item.content)})
        elif isinstance(item, CallItem):
            function = {"name": item.name, "arguments": item.arguments}
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            messages[-1].setdefault("tool_calls", []).append(
                {"id": item.call_id, "type": "function", "function": function}
            )
        else:
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)})
    return messages


def _chat(body: ResponsesBody) -> ChatBody:
    """The same chat as chat completions have it."""
    for name in KEPT:
        if getattr(body, name):
            raise ApiError(400, f"{name}: no responses are kept here; give all of the conversation as input", name)
    given = body.model_dump(include={*AnySampling.model_fields, "temperature", "top_p", "parallel_tool_calls"})
    given |= {"messages": _messages(body), "max_tokens": body.max_output_tokens}
    if body.tools:
        functions = [tool.model_dump(exclude={"type"}, exclude_none=True) for tool in body.tools]
        given["tools"] = [{"type": "function", "function": function} for function in functions]
    given["tool_choice"] = choice = body.tool_choice
    if isinstance(choice, FlatToolChoice):
        given["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    if (form := _format(body)) is not None:
        schema = form.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)
        if form.type == "json_schema" and "schema" not in schema:
            raise ApiError(400, "text.format: json_schema needs a schema", "text.format")
        given["response_format"] = {"type": form.type} | ({"json_schema": schema} if schema else {})
    try:
        return ChatBody.model_validate(given)
    except ValidationError as error:
        raise of_validation(error) from None


def _message(status: str, *parts: Result, name: str | None = None) -> Result:
    made = {"id": name or f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "status": status}
    return {**made, "content": list(parts)}


def _part(text: str) -> Result:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: Result) -> Result:
    function = call["function"]
    made = {"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": "completed", "call_id": call["id"]}
    return {**made, "name": function["name"], "arguments": function["arguments"]}


class _Answer:
    """The one answer to a request, whole or in events."""

    def __init__(self, body: ResponsesBody, answers: Answers, model: str) -> None:
        self._answers = answers
        self._n_events = 0
        form = _format(body)
        self._head: Result = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": {"format": form.model_dump(exclude_none=True, by_alias=True) if form else {"type": "text"}},
            "tool_choice": body.model_dump()["tool_choice"] or "auto",
            "tools": [{"parameters": None, "strict": None} | tool.model_dump() for tool in body.tools or []],
            "top_p": body.top_p,
            "truncation": "disabled",
        }

    def _told(self, status: str, output: list[Result]) -> Result:
        """The response; at its end with what it took."""
        late = {"reason": "max_output_tokens"} if status == "incomplete" else None
        told = {**self._head, "status": status, "error": None, "incomplete_details": late, "output": output}
        if status == "in_progress":
            return {**told, "usage": None}
        usage = self._answers.usage()
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        told["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        return {**told, "timings": timings(self._answers.choices[0])}

    async def whole(self) -> Result:
        (piece,) = await self._answers.collect()
        status = _status(piece.reason)
        output = [_message(status, _part(piece.text))] if piece.text or not piece.calls else []
        return self._told(status, [*output, *map(_call, piece.calls)])

    def _event(self, kind: str, **more: Any) -> Result:
        self._n_events += 1
        return {"type": f"response.{kind}", "sequence_number": self._n_events - 1, **more}

    async def events(self) -> AsyncIterator[Result]:
        """The response's head, each item with its beginning, its parts and its end, and the response whole."""
        yield self._event("created", response=self._told("in_progress", []))
        yield self._event("in_progress", response=self._told("in_progress", []))
        output: list[Result] = []
        text, name = "", f"msg_{uuid.uuid4().hex}"
        place: Result = {"item_id": name, "output_index": 0, "content_index": 0}
        started = False
        async for _, piece in self._answers.pieces():
            if not started and (piece.text or (piece.reason and not piece.calls)):
                started = True
                yield self._event("output_item.added", output_index=0, item=_message("in_progress", name=name))
                yield self._event("content_part.added", **place, part=_part(""))
            if piece.text:
                text += piece.text
                yield self._event("output_text.delta", **place, delta=piece.text, logprobs=[])
            if not piece.reason:
                continue
            status = _status(piece.reason)
            if started:
                output.append(_message(status, _part(text), name=name))
                yield self._event("output_text.done", **place, text=text, logprobs=[])
                yield self._event("content_part.done", **place, part=_part(text))
                yield self._event("output_item.done", output_index=0, item=output[0])
            for item in map(_call, piece.calls):
                at, arguments = {"output_index": len(output)}, item["arguments"]
                empty = {**item, "arguments": "", "status": "in_progress"}
                yield self._event("output_item.added", **at, item=empty)
                at["item_id"] = item["id"]
                yield self._event("function_call_arguments.delta", **at, delta=arguments)
                yield self._event("function_call_arguments.done", **at, arguments=arguments, name=item["name"])
                yield self._event("output_item.done", output_index=len(output), item=item)
                output.append(item)
            yield self._event(status, response=self._told(status, output))


def _status(reason: str | None) -> str:
    return "incomplete" if reason == "length" else "completed"


async def responses(request: Request) -> Response:
    body, service = await read_body(request, ResponsesBody), service_of(request)
    answers = await start_chat(service, _chat(body))
    answer = _Answer(body, answers, service.name)
    if body.stream:
        return stream(request, service, answers, answer.events())
    return await whole(request, service, answers, answer.whole)


async def kept_response(_: Request) -> Response:
    raise ApiError(400, "no responses are kept here: there is none to fetch or delete", "id")
