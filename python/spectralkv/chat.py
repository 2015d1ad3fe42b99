"""Chat messages to a prompt: the model's own Jinja template in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

import jinja2

from spectralkv.sandbox import PLAIN_MARK, Sandbox
from spectralkv.sandbox_bounds import check_pattern, length_of, spend

if TYPE_CHECKING:
    from spectralkv import _core

Message = Mapping[str, Any]
LONGEST_WORDS = 2000  # characters of an error


class Marked(str):
    """A prompt with U+FDD0 wherever a control token is written in a message: encode makes plain text of it."""

    def plain(self) -> str:
        """The prompt without its marks, for who reads it."""
        return self.replace(PLAIN_MARK, "")


def encode(tokenizer: _core.Tokenizer, prompt: str) -> list[int]:
    """Token ids of a prompt: control tokens in it count, but for those of a Marked one's messages."""
    data = prompt.encode("utf-8", "surrogateescape")
    return tokenizer.encode_marked_prompt(data) if isinstance(prompt, Marked) else tokenizer.encode_prompt(data)


def _marked(value: Any, tokenizer: _core.Tokenizer) -> Any:
    """The same with marks in all its texts."""
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return tokenizer.mark_plain(data).decode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        return {_marked(key, tokenizer): _marked(item, tokenizer) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item, tokenizer) for item in value]
    return value


def _raise_exception(message: object) -> NoReturn:
    spend(length_of(message))
    raise jinja2.TemplateError(str(message))


def _strftime_now(pattern: str) -> str:
    check_pattern(pattern)
    return datetime.now().strftime(pattern)


def _cut(error: Exception) -> str:
    """An error's words, which may be any text of the template's."""
    words = str(error)
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + "..."


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    sandbox.globals["raise_exception"] = _raise_exception
    sandbox.globals["strftime_now"] = _strftime_now
    return sandbox


@lru_cache(maxsize=8)
def _compile(source: str) -> jinja2.Template:
    return _sandbox().compile_bounded(source)


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
    tokenizer: _core.Tokenizer | None = None,
) -> str:
    """Renders messages with a chat template.

    `source` is the template's Jinja text, run in a sandbox; `add_generation_prompt` opens the assistant's turn;
    `variables` are further ones of the template: tools, enable_thinking. With a tokenizer the prompt is Marked:
    control tokens that messages and variables write out are plain text for `encode`.
    Raises ValueError for messages of the wrong form, for a template that is damaged or missing, and when the template
    itself refuses the messages (its words are in the message).
    """
    if not source:
        raise ValueError("[chat] the model has no chat template (tokenizer.chat_template)")
    checked: Any = check_messages(messages)
    if tokenizer is not None:
        try:
            checked, variables = _marked(checked, tokenizer), _marked(dict(variables or {}), tokenizer)
        except RecursionError:
            raise ValueError("[chat] the messages are nested too deep") from None
    try:
        ours = {
            "messages": checked,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": bos_token,
            "eos_token": eos_token,
        }
        given = {"tools": None, "documents": None, **(variables or {}), **ours}  # as transformers has them
        text = _sandbox().render_bounded(_compile(source), **given)
        text.encode("utf-8", "surrogateescape")  # surrogates that stand for no byte are no text
        return text if tokenizer is None else Marked(text)
    except jinja2.TemplateError as error:
        raise ValueError(f"[chat] the model's chat template: {_cut(error)}") from error
    except Exception as error:  # whatever an untrusted template comes upon
        raise ValueError(f"[chat] the model's chat template fails: {type(error).__name__}: {_cut(error)}") from error
