"""Chat messages to a prompt: the model's own Jinja template in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2

from spectralkv.sandbox import Sandbox

Message = Mapping[str, Any]


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    sandbox = Sandbox(
        filters={"tojson": _tojson}, trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.globals["raise_exception"] = _raise_exception
    sandbox.globals["strftime_now"] = _strftime_now
    return sandbox


@lru_cache(maxsize=8)
def _compile(source: str) -> jinja2.Template:
    return _sandbox().from_string(source)


def _content_text(content: Any, place: str) -> str:
    """The text of a message: a str, None (no text) or OpenAI's list of {"type": "text", "text": ...} parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        texts = []
        for part in content:
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError(f"[chat] {place}: only text parts are understood, not {part!r}")
            texts.append(part["text"])
        return "".join(texts)
    raise ValueError(f"[chat] {place}: the content must be a str, not {type(content).__name__}")


def check_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as plain dicts with role and content, or a ValueError that names the one that is wrong."""
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise ValueError('[chat] messages must be a list of {"role": ..., "content": ...}, at least one')
    checked = []
    for i, message in enumerate(messages):
        place = f"messages[{i}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"[chat] {place} must be a dict with a role")
        checked.append({**message, "content": _content_text(message.get("content"), place)})
    return checked


def format_chat(
    source: str,
    messages: Sequence[Message],
    add_generation_prompt: bool,
    bos_token: str,
    eos_token: str,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Renders messages with a chat template.

    `source` is the template's Jinja text, run in a sandbox; `add_generation_prompt` opens the assistant's turn;
    `variables` are further ones of the template: tools, enable_thinking.
    Raises ValueError for messages of the wrong form, for a template that is damaged or missing, and when the template
    itself refuses the messages (its words are in the message).
    """
    if not source:
        raise ValueError("[chat] the model has no chat template (tokenizer.chat_template)")
    checked = check_messages(messages)
    try:
        ours = {
            "messages": checked,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": bos_token,
            "eos_token": eos_token,
        }
        text = _sandbox().render_bounded(_compile(source), **{**(variables or {}), **ours})
        text.encode("utf-8", "surrogateescape")  # surrogates that stand for no byte are no text
        return text
    except jinja2.TemplateError as error:
        raise ValueError(f"[chat] the model's chat template: {error}") from error
    except Exception as error:  # whatever an untrusted template comes upon
        raise ValueError(f"[chat] the model's chat template fails: {type(error).__name__}: {error}") from error
