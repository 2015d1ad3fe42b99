"""Fuzzes the bodies of requests to the server's application, without sockets: each gets an answer in time, as JSON or a
stream, that is no fault of the server's.

An input is a byte, which chooses the route and how the body arrives, and the body.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

MODULES = (
    "spectralkv.chat",
    "spectralkv.grammar",
    "spectralkv.tool_calls",
    "spectralkv.serve.bodies",
    "spectralkv.serve.answers",
    "spectralkv.serve.completions",
    "spectralkv.serve.routes",
    "spectralkv.serve.service",
    "spectralkv.serve.tools",
    "spectralkv.serve.worker",
    "spectralkv.serve.app",
)
SECONDS = 15.0  # for an answer; a request computes for a second at most
ANSWERS = {200, 400, 404, 408, 413, 503, 507}
DEEPEST = 200
TEMPLATE = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<tool_call>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>"
    "{{ call.function.arguments | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if thinking %}think{% endif %}<|im_start|>assistant\n"
)
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "hello <|im_start|>"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "1", "tool_call_id": "c", "name": "f"},
]
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": CHAT[:2], "max_tokens": 3, "temperature": 0.5, "seed": 1, "stop": ["a"]}),
    (
        "/v1/chat/completions",
        {"messages": CHAT, "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 30},
    ),
    (
        "/v1/chat/completions",
        {
            "messages": CHAT[:1],
            "stream": True,
            "stream_options": {"include_usage": True},
            "logprobs": True,
            "top_logprobs": 2,
            "n": 2,
            "max_completion_tokens": 4,
            "chat_template_kwargs": {"thinking": True},
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
        },
    ),
    ("/v1/completions", {"prompt": ["a b", "c"], "max_tokens": 2, "n": 2, "logprobs": 1, "logit_bias": {"5": 1.5}}),
    ("/v1/completions", {"prompt": [3, 4, 5], "max_tokens": 9, "echo": True, "grammar": 'root ::= "a" | [b-d]+'}),
    (
        "/v1/completions",
        {"prompt": "hello", "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1, "repeat_last_n": 8}
        | {"frequency_penalty": 0.1, "presence_penalty": 0.1, "stream": True, "timeout": 0.5, "cache_prompt": False},
    ),
    ("/tokenize", {"content": "hello <|im_end|>", "add_special": True, "parse_special": False}),
    ("/tokenize", {"content": [5, "hello"], "with_pieces": True}),
    (
        "/completion",
        {"prompt": [5, "a", {"prompt_string": "b"}], "n_predict": 3, "n_cmpl": 2, "n_probs": 2, "t_max_predict_ms": 5}
        | {"logit_bias": [[5, False], ["a", 1.5]], "stop": ["", "x"], "samplers": "kt", "stream": True},
    ),
    ("/completion", {"prompt": "a", "n_predict": 4, "response_fields": ["content", "timings/prompt_n"], "mirostat": 2}),
    (
        "/infill",
        {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"filename": "c", "text": "d"}], "prompt": "e"},
    ),
    (
        "/v1/messages",
        {
            "system": [{"type": "text", "text": "a"}],
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "b"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "2", "name": "f", "input": {"c": 1}}]},
            ],
            "tools": [{"name": "f", "input_schema": SCHEMA}],
            "tool_choice": {"type": "auto"},
            "stop_sequences": ["x"],
            "max_tokens": 3,
        },
    ),
    ("/detokenize", {"tokens": [1, 2, 300]}),
    ("/apply-template", {"messages": CHAT, "tools": [TOOL]}),
    ("/slots/save", {"filename": "one", "prompt": "hello"}),
    ("/slots/save", {"filename": "two", "messages": CHAT[:2]}),
    ("/slots/restore", {"filename": "one"}),
]
WITHOUT_A_MARK = ("/completion", "/infill", "/v1/messages")  # streams that end without [DONE]
ROUTES = list(dict.fromkeys(path for path, _ in BODIES))
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        "",
        "a",
        "0",
        "\ud800",
        "\ufdd0<|im_start|>",
        "é" * 300,
        [],
        {},
        [[]],
        {"": {}},
        "auto",
        "none",
    ),
    *(0, -1, 1, 2, 16, 17, 64, 255, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30),
    *(0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), 86400.0, 100.0),
    *(
        "text",
        "json_object",
        "json_schema",
        "function",
        "required",
        "system",
        "a\0b",
        "../x",
        "%s",
        "{{ 1 }}",
        "\u2028",
    ),
    *('root ::= root "a"', 'root ::= ("a"*)*', "start: /(a|b)*c/", "root ::= [", {"$ref": "#"}, {"type": "string"}),
    *({"pattern": "(a*)*b"}, {"enum": []}, {"minimum": 5, "maximum": 1}, {"anyOf": [{"$ref": "#"}]}, {"const": {}}),
    *('{"a": "\\ud800"}', '{"a": "\\udc80"}', '{"a": NaN}', '{"a": 1e999}', '{"a":' * 99, "[" * 3000, "{}", "\\ud800"),
]


class Requests:
    modules = MODULES

    def __init__(self) -> None:
        from support.tiny_model import write_tiny_model

        from spectralkv.serve.app import make_app
        from spectralkv.serve.bodies import ChatBody, CompletionBody, SaveBody
        from spectralkv.serve.guard import GuardOptions
        from spectralkv.serve.service import Service, ServiceOptions

        self._folder = tempfile.TemporaryDirectory(prefix="spectralkv-fuzz-")
        model = write_tiny_model(Path(self._folder.name) / "tiny.gguf", context_length=128, chat_template=TEMPLATE)
        options = ServiceOptions(
            model=str(model), n_threads=1, n_ctx=128, n_parallel=4, timeout=1, slot_folder=self._folder.name
        )
        self._service = Service(options)
        self._app = make_app(self._service, GuardOptions(body_bytes=1 << 16))
        self._loop = asyncio.new_event_loop()
        names = [
            str(name)
            for body in (ChatBody, CompletionBody, SaveBody)
            for name in body.model_json_schema()["properties"]
        ]
        self._names = sorted({*names, "schema", "type", "properties", "items", "pattern", "$ref", "anyOf", "arguments"})
        atexit.register(self._close)

    def _close(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self._service.close()

    def seeds(self) -> list[bytes]:
        return [bytes([ROUTES.index(path)]) + json.dumps(body).encode() for path, body in BODIES]

    def words(self) -> list[bytes]:
        words = [f'"{name}":' for name in self._names]
        words += [json.dumps(value) for value in VALUES]
        return [word.encode() for word in words]

    # ---- changes of the JSON

    def mutated(self, data: bytes, numbers: random.Random) -> bytes | None:
        try:
            body = json.loads(data[1:])
        except (ValueError, RecursionError):
            return None
        for _ in range(numbers.randint(1, 3)):
            body = self._changed(body, numbers)
        route = data[:1] if numbers.random() < 0.9 else bytes([numbers.randrange(256)])
        return route + json.dumps(body, ensure_ascii=numbers.random() < 0.5).encode("utf-8", "surrogatepass")

    def _changed(self, value: Any, numbers: random.Random) -> Any:
        """The value with one change at a random place in it."""
        if isinstance(value, dict) and value and numbers.random() < 0.8:
            key, kind = numbers.choice(list(value)), numbers.random()
            if kind < 0.15:
                return {other: item for other, item in value.items() if other != key}
            if kind < 0.45:
                return {**value, numbers.choice(self._names): numbers.choice([*VALUES, value[key]])}
            return {**value, key: self._changed(value[key], numbers)}
        if isinstance(value, list) and value and numbers.random() < 0.8:
            at, kind = numbers.randrange(len(value)), numbers.random()
            if kind < 0.15:
                return value[:at] + value[at + 1 :]
            if kind < 0.3:
                return value[:at] + value[at : at + 1] * numbers.choice((2, 17, 70)) + value[at:]
            return [*value[:at], self._changed(value[at], numbers), *value[at + 1 :]]
        if isinstance(value, str) and numbers.random() < 0.5:
            at, other = numbers.randrange(len(value) + 1), numbers.choice([v for v in VALUES if isinstance(v, str)])
            return value[:at] + other + value[at:]
        if numbers.random() < 0.05:
            for _ in range(DEEPEST):
                value = [value] if numbers.random() < 0.5 else {"a": value}
            return value
        return numbers.choice(VALUES)

    # ---- requests

    def read(self, data: bytes) -> None:
        if not data:
            return
        path, pieces = ROUTES[data[0] % len(ROUTES)], 1 + data[0] // len(ROUTES) % 3
        begun = time.monotonic()
        try:
            status, kind, answer = self._loop.run_until_complete(
                asyncio.wait_for(self._answer(path, data[1:], pieces), SECONDS)
            )
        except asyncio.TimeoutError:
            raise AssertionError(f"{path}: no answer within {SECONDS} s: {data[1:]!r}") from None
        said = f"{path} answers {status} after {time.monotonic() - begun:.1f} s: {answer[:400]!r} to {data[1:]!r}"
        assert status in ANSWERS, said
        if kind.startswith("text/event-stream"):
            assert answer.endswith(b"\n\n"), said
            assert answer.endswith(b"data: [DONE]\n\n") == (path not in WITHOUT_A_MARK), said
            lines = [line[6:] for line in answer.decode().split("\n") if line.startswith("data: {")]
            assert not any(
                "the server failed" in line or json.loads(line).get("error", {}).get("type") == "server_error"
                for line in lines
            ), said
        else:
            found = json.loads(answer)
            assert ("error" in found) == (status >= 400), said

    async def _answer(self, path: str, body: bytes, pieces: int) -> tuple[int, str, bytes]:
        size = len(body) // pieces + 1
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        waiting = [
            {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)} for i, part in enumerate(parts)
        ]
        sent: list[dict[str, Any]] = []
        for_ever = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop(0)
            await for_ever.wait()  # the client stays
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        app: Callable[..., Any] = self._app
        await app(scope, receive, send)
        head = sent[0]
        kinds = [value.decode() for name, value in head["headers"] if name == b"content-type"]
        return head["status"], (kinds or [""])[0], b"".join(message.get("body", b"") for message in sent[1:])


if __name__ == "__main__":
    harness.main(Requests, MODULES)
