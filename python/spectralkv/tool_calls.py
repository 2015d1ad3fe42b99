"""Tool calls: how a chat's template writes them, found in what the model says."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from spectralkv import _core
from spectralkv.grammar import JSON_OPTIONS, LlamaGrammar

Self = TypeVar("Self", bound="Tools")
Call = tuple[str, Any]  # name, arguments
_DECODER = json.JSONDecoder()
_NEW_MISTRAL = re.compile(r"\s*([a-zA-Z0-9_.-]+)(?:\[CALL_ID\][a-zA-Z0-9]*)?\[ARGS\]\s*")


@dataclass(frozen=True)
class Form:
    """markers: texts that a call begins with. at_start: only an answer that begins so is a call."""

    name: str
    markers: tuple[str, ...]
    at_start: bool = False
    renders_special: bool = False  # the markers may be control tokens, whose text must be seen


HERMES = Form("hermes", ("<tool_call>",))
LLAMA3 = Form("llama3", ("<|python_tag|>", "{"), at_start=True, renders_special=True)
MISTRAL = Form("mistral", ("[TOOL_CALLS]",), renders_special=True)


def form_of(template: str) -> Form | None:
    """The form of calls that a template writes; None where it knows no tools, or not one of these forms."""
    if "tools" not in template:
        return None
    if "<tool_call>" in template:
        return HERMES
    if "[TOOL_CALLS]" in template:
        return MISTRAL
    if "<|python_tag|>" in template or '"parameters"' in template:
        return LLAMA3
    return None


def _json_at(text: str, at: int) -> tuple[Any, int] | None:
    """The JSON value at a place behind blanks, and where it ends. NaN, numbers too large for a float and half
    characters can be read, but not given on as JSON: they are none."""
    while at < len(text) and text[at].isspace():
        at += 1
    try:
        value, end = _DECODER.raw_decode(text, at)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value, end


def _call(value: Any) -> Call | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # some models write them as a text of JSON
        found = _json_at(arguments, 0)
        arguments = found[0] if found else arguments
    return value["name"], arguments


def _parse_hermes(text: str) -> tuple[str, list[Call]]:
    rest: list[str] = []
    calls: list[Call] = []
    at = 0
    while (start := text.find("<tool_call>", at)) >= 0:
        found = _json_at(text, start + len("<tool_call>"))
        call = _call(found[0]) if found else None
        if found is None or call is None:
            break
        rest.append(text[at:start])
        calls.append(call)
        at = found[1]
        while at < len(text) and text[at].isspace():
            at += 1
        if text.startswith("</tool_call>", at):
            at += len("</tool_call>")
    rest.append(text[at:])
    return "".join(rest), calls


def _parse_llama3(text: str) -> tuple[str, list[Call]]:
    calls: list[Call] = []
    at = 0
    while True:
        while at < len(text) and (text[at].isspace() or text[at] == ";"):
            at += 1
        if text.startswith("<|python_tag|>", at):
            at += len("<|python_tag|>")
        found = _json_at(text, at)
        call = _call(found[0]) if found else None
        if found is None or call is None:
            return text[at:], calls
        calls.append(call)
        at = found[1]


def _parse_mistral(text: str) -> tuple[str, list[Call]]:
    rest: list[str] = []
    calls: list[Call] = []
    at = 0
    while (start := text.find("[TOOL_CALLS]", at)) >= 0:
        place = start + len("[TOOL_CALLS]")
        new = _NEW_MISTRAL.match(text, place)
        found = _json_at(text, new.end() if new else place)
        if found is None:
            break
        values = found[0] if isinstance(found[0], list) else [found[0]]
        made = [(new[1], found[0])] if new else [call for value in values if (call := _call(value))]
        if not made:
            break
        rest.append(text[at:start])
        calls += made
        at = found[1]
    rest.append(text[at:])
    return "".join(rest), calls


_PARSERS = {"hermes": _parse_hermes, "llama3": _parse_llama3, "mistral": _parse_mistral}


def message_for_template(message: Mapping[str, Any]) -> dict[str, Any]:
    """Templates write the arguments of earlier calls as JSON, so they get them as objects."""
    out = {"content": "", **message}
    if calls := message.get("tool_calls"):
        out["tool_calls"] = [
            {
                **call,
                "type": "function",
                "function": {**call["function"], "arguments": _arguments(call["function"]["arguments"])},
            }
            for call in calls
        ]
    return out


def _arguments(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    found = _json_at(text, 0)
    return found[0] if found and isinstance(found[0], dict) else text


def plain_messages(messages: Sequence[Any]) -> list[Any]:
    """Messages of a program for a template: a `function_call` is one of `tool_calls`, the role "function" is "tool",
    arguments are objects. ValueError for calls that are none; what is no message is left to who checks them."""
    out: list[Any] = []
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping):
            out.append(message)
            continue
        made = dict(message)
        if (old := made.pop("function_call", None)) is not None:
            made["tool_calls"] = [{"type": "function", "function": old}]
        if made.get("role") == "function":
            made["role"] = "tool"
        try:
            out.append(message_for_template(made))
        except (KeyError, TypeError) as error:
            raise ValueError(f"[chat] messages[{i}]: a call needs a function with name and arguments") from error
    return out


class WrongTools(ValueError):
    """A request for tools that cannot be met; `param` is the argument that is wrong."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"[chat] {message}")
        self.param, self.bare = param, message


def as_list(name: str, value: Any) -> Sequence[Any]:
    """The value, a list; WrongTools for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value
    raise WrongTools(name, f"{name} must be a list, not {value!r}")


def _function_of(tool: Any, i: int) -> Mapping[str, Any]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise WrongTools(
            "tools", f'tools[{i}] must be {{"type": "function", "function": {{"name": ...}}}}, not {tool!r}'
        )
    return function


def _forced(choice: Any, names: Sequence[str]) -> str | bool:
    if choice in (None, "auto", "none", "required"):
        return bool(choice == "required")
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise WrongTools("tool_choice", f"tool_choice must be auto, none, required or a function, not {choice!r}")
    if name not in names:
        raise WrongTools("tool_choice", f"tool_choice names '{name}', which is none of the tools")
    return name


class Tools:
    """The tools of a request that the model may call."""

    def __init__(
        self, tools: Sequence[Mapping[str, Any]], form: Form, forced: str | bool, parallel: bool = True
    ) -> None:
        self.form, self.forced, self.parallel = form, forced, parallel
        self._tools = tools

    @classmethod
    def of(
        cls: type[Self], tools: Sequence[Mapping[str, Any]] | None, choice: Any, template: str, parallel: bool = True
    ) -> Self | None:
        """OpenAI's `tools` and `tool_choice`. None where there are none, or none may be called. WrongTools for a
        template that knows no tools."""
        if not tools:
            if choice not in (None, "none", "auto"):
                raise WrongTools("tool_choice", "tool_choice needs tools")
            return None
        names = [str(_function_of(tool, i)["name"]) for i, tool in enumerate(as_list("tools", tools))]
        forced = _forced(choice, names)
        if choice == "none":
            return None
        if (form := form_of(template)) is None:
            raise WrongTools("tools", "the model's chat template has no tools in a form that is known")
        return cls(list(tools), form, forced, parallel)

    def for_template(self) -> list[dict[str, Any]]:
        return [dict(tool) for tool in self._tools]

    def grammar(self, tokenizer: _core.Tokenizer) -> LlamaGrammar | None:
        """That of a call which must come; None where the model may choose."""
        if self.forced is False:
            return None
        tools = [tool["function"] for tool in self._tools if self.forced in (True, tool["function"]["name"])]
        key = "parameters" if self.form is LLAMA3 else "arguments"
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": tool["name"]}, key: tool.get("parameters") or {"type": "object"}},
                "required": ["name", key],
                "additionalProperties": False,
            }
            for tool in tools
        ]
        call: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
        call["x-guidance"] = JSON_OPTIONS
        if self.form is HERMES:
            return LlamaGrammar(
                "lark", f'start: "<tool_call>\\n" call "\\n</tool_call>"\ncall: %json {json.dumps(call)}'
            )
        if self.form is LLAMA3:
            return LlamaGrammar("lark", f"start: %json {json.dumps(call)}")
        listed = {"type": "array", "items": call, "minItems": 1, "maxItems": 128 if self.parallel else 1}
        listed["x-guidance"] = call.pop("x-guidance")
        marker = _marker("[TOOL_CALLS]", tokenizer)
        return LlamaGrammar("lark", f"start: {marker} calls\ncalls: %json {json.dumps(listed)}")

    def parse(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """What is said beside the calls, and the calls as OpenAI has them; no calls where the text has none that can
        be read."""
        content, calls = _PARSERS[self.form.name](text)
        if not calls:
            return text, []
        if not self.parallel:
            calls = calls[:1]
        return content.strip(), [
            {
                "id": secrets.token_hex(5)[:9] if self.form is MISTRAL else f"call_{secrets.token_hex(12)}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
            }
            for name, arguments in calls
        ]


def _marker(text: str, tokenizer: _core.Tokenizer) -> str:
    """A marker in llguidance's Lark: the control token where the vocabulary has one, else its text."""
    ids = tokenizer.encode(text.encode(), False, True)
    return f"<[{ids[0]}]>" if len(ids) == 1 and tokenizer.is_control(ids[0]) else json.dumps(text)


class ToolText:
    """Splits an answer on its way: gives out what cannot be a call, and keeps the rest for the end."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._held = ""
        self._calls = self._said = False

    def put(self, text: str) -> str:
        """More text; gives what is content for certain."""
        self._held += text
        if self._calls:
            return ""
        form = self._tools.form
        if form.at_start:
            return self._put_start(form)
        places = [place for marker in form.markers if (place := self._held.find(marker)) >= 0]
        if places:
            self._calls = True
            return self._give(min(places))
        most = min(len(self._held), max(map(len, form.markers)) - 1)
        held = next((n for n in range(most, 0, -1) if any(m.startswith(self._held[-n:]) for m in form.markers)), 0)
        return self._give(len(self._held) - held)

    def _put_start(self, form: Form) -> str:
        begin = self._held.lstrip()
        if self._said:
            return self._give(len(self._held))
        if any(begin.startswith(marker) for marker in form.markers):
            self._calls = True
        elif begin and not any(marker.startswith(begin) for marker in form.markers):
            self._said = True
            return self._give(len(self._held))
        return ""

    def _give(self, n: int) -> str:
        out, self._held = self._held[:n], self._held[n:]
        return out

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """The content that was kept, and the calls."""
        return self._tools.parse(self._held)
