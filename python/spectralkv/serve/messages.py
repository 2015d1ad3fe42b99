"""The route /v1/messages: chats in Anthropic's form, answered as those in OpenAI's are."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spectralkv.serve.answers import Answers, Choice, Piece, Result
from spectralkv.serve.bodies import (
    ChatBody,
    CountBody,
    MessagesBody,
    TextPart,
    ThinkingBlock,
    ToolUseBlock,
    Turn,
)
from spectralkv.serve.completions import read_body, service_of, start_chat, stream, whole
from spectralkv.serve.errors import of_validation
from spectralkv.serve.tools import Tools

CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def _text(content: str | list[TextPart] | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or [])


def _messages(turn: Turn) -> list[Result]:
    """A turn's messages: results of tools are messages of their own, in front of what else a user says."""
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    results: list[Result] = []
    calls: list[Result] = []
    texts: list[str] = []
    thoughts: list[str] = []
    for block in turn.content:
        if isinstance(block, TextPart):
            texts.append(block.text)
        elif isinstance(block, ThinkingBlock):
            thoughts.append(block.thinking)
        elif isinstance(block, ToolUseBlock):
            function = {"name": block.name, "arguments": json.dumps(block.input)}
            calls.append({"id": block.id, "type": "function", "function": function})
        else:
            results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": _text(block.content)})
    message: Result = {"role": turn.role, "content": "".join(texts)}
    message |= {"tool_calls": calls} if calls else {}
    message |= {"reasoning_content": "".join(thoughts)} if thoughts else {}
    return results + ([message] if texts or calls or thoughts or not results else [])


def _chat(body: CountBody) -> ChatBody:
    """The same chat in OpenAI's form."""
    messages: list[Result] = [{"role": "system", "content": _text(body.system)}] if body.system else []
    for turn in body.messages:
        messages += _messages(turn)
    given: dict[str, Any] = {"messages": messages}
    if body.tools:
        given["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in body.tools
        ]
    if isinstance(body, MessagesBody):
        given |= {name: getattr(body, name) for name in ("max_tokens", "temperature", "top_p", "top_k", "stream")}
        given["stop"] = body.stop_sequences or None
        if (choice := body.tool_choice) is not None:
            named = {"type": "function", "function": {"name": choice.name or ""}}
            given["tool_choice"] = CHOICES.get(choice.type, named)
            given["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    try:
        return ChatBody.model_validate(given)
    except ValidationError as error:
        raise of_validation(error) from None


def _reason(choice: Choice, piece: Piece) -> str:
    if piece.reason == "tool_calls":
        return "tool_use"
    if piece.reason == "length":
        return "max_tokens"
    return "stop_sequence" if choice.stopping_word else "end_turn"


def _usage(answers: Answers) -> Result:
    told = answers.usage()
    cached = told["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": told["prompt_tokens"] - cached,
        "cache_read_input_tokens": cached,
        "output_tokens": told["completion_tokens"],
    }


def _head(model: str) -> Result:
    return {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model}


def _input(call: Result) -> Any:
    """A call's arguments, which a model may have written wrong."""
    try:
        return json.loads(call["function"]["arguments"])
    except (ValueError, RecursionError):
        return {}


def _tool_use(call: Result, arguments: Any) -> Result:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments}


async def _complete(answers: Answers, model: str) -> Result:
    (piece,) = await answers.collect()
    blocks: list[Result] = [{"type": "text", "text": piece.text}] if piece.text or not piece.calls else []
    choice = answers.choices[0]
    return {
        **_head(model),
        "content": [*blocks, *(_tool_use(call, _input(call)) for call in piece.calls)],
        "stop_reason": _reason(choice, piece),
        "stop_sequence": choice.stopping_word or None,
        "usage": _usage(answers),
    }


async def _events(answers: Answers, model: str) -> AsyncIterator[Result]:
    """The message's head, each block with its beginning, its parts and its end, and how it ended."""
    started = False
    n_blocks = 0
    open_text = False

    def block(kind: str, **more: Any) -> Result:
        return {"type": f"content_block_{kind}", "index": n_blocks, **more}

    async for choice, piece in answers.pieces():
        if not started:
            started = True
            empty: Result = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(answers)}
            yield {"type": "message_start", "message": {**_head(model), **empty}}
        if piece.text:
            if not open_text:
                open_text = True
                yield block("start", content_block={"type": "text", "text": ""})
            yield block("delta", delta={"type": "text_delta", "text": piece.text})
        if open_text and (piece.calls or piece.reason):
            yield block("stop")
            open_text, n_blocks = False, n_blocks + 1
        for call in piece.calls:
            yield block("start", content_block=_tool_use(call, {}))
            yield block("delta", delta={"type": "input_json_delta", "partial_json": call["function"]["arguments"]})
            yield block("stop")
            n_blocks += 1
        if piece.reason:
            ended = {"stop_reason": _reason(choice, piece), "stop_sequence": choice.stopping_word or None}
            yield {"type": "message_delta", "delta": ended, "usage": _usage(answers)}
            yield {"type": "message_stop"}


async def messages(request: Request) -> Response:
    body, service = await read_body(request, MessagesBody), service_of(request)
    answers = await start_chat(service, _chat(body))
    if body.stream:
        return stream(request, service, answers, _events(answers, service.name))
    return await whole(request, service, answers, lambda: _complete(answers, service.name))


async def count_tokens(request: Request) -> Response:
    body, service = _chat(await read_body(request, CountBody)), service_of(request)
    tools = Tools.of_body(body, service.template)
    tokens = await service.encode(await service.render(body, tools), "messages", fits=False)
    return JSONResponse({"input_tokens": len(tokens)})
