"""Chats in Anthropic's form: the same answers as in OpenAI's, in its words."""

import json

import pytest
from support.tiny_model import write_tiny_model

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from support.serving import serving  # noqa: E402

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}<tool_call>"
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}{{ m.reasoning_content or '' }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.city }}]{% endfor %}"
    "<|im_end|>{% endfor %}<|im_start|>assistant\n"
)
TOOL = {
    "name": "weather",
    "description": "of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
USER = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = write_tiny_model(
        tmp_path_factory.mktemp("messages") / "tiny.gguf", context_length=4096, chat_template=TEMPLATE
    )
    with serving(str(path), n_parallel=4) as running:
        yield running


def post(server, path="/v1/messages", status=200, **body):
    answer = httpx.post(server.url + path, json=body, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()


def events(server, **body):
    with httpx.stream("POST", server.url + "/v1/messages", json={**body, "stream": True}, timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    data = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert names == [event["type"] for event in data]
    return data


def openai(server, messages, **more):
    return post(server, "/v1/chat/completions", messages=messages, temperature=0, **more)


def test_the_answer_is_that_of_openais_form(server):
    message = post(server, messages=USER, system="be brief", max_tokens=20, temperature=0)
    same = openai(server, [{"role": "system", "content": "be brief"}, *USER], max_tokens=20)
    assert message["content"] == [{"type": "text", "text": same["choices"][0]["message"]["content"]}]
    assert message["type"] == "message" and message["role"] == "assistant" and message["id"].startswith("msg_")
    usage = message["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == same["usage"]["prompt_tokens"]
    assert usage["output_tokens"] == same["usage"]["completion_tokens"]
    assert message["stop_reason"] == {"length": "max_tokens", "stop": "end_turn"}[same["choices"][0]["finish_reason"]]


def test_a_stream_is_the_answer_in_parts(server):
    body = {"messages": USER, "max_tokens": 20, "temperature": 0}
    whole, told = post(server, **body), events(server, **body)
    assert (
        "".join(e["delta"]["text"] for e in told if e["type"] == "content_block_delta") == whole["content"][0]["text"]
    )
    kinds = [e["type"] for e in told if e["type"] != "content_block_delta"]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert told[0]["message"]["usage"]["output_tokens"] <= 1
    assert told[-2]["delta"] == {name: whole[name] for name in ("stop_reason", "stop_sequence")}
    assert told[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_a_text_that_ends_it(server):
    body = {"messages": USER, "max_tokens": 20, "temperature": 0}
    text = post(server, **body)["content"][0]["text"]
    stop = text[4:6]
    message = post(server, **body, stop_sequences=["never", stop])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", stop)
    assert message["content"][0]["text"] == text[: text.index(stop)]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_tools(server, choice):
    body = {"messages": USER, "tools": [TOOL], "tool_choice": choice, "max_tokens": 200, "temperature": 1}
    message = post(server, **body)
    assert message["stop_reason"] == "tool_use"
    (use,) = [block for block in message["content"] if block["type"] == "tool_use"]
    assert use["name"] == "weather" and use["input"]["city"] in ("Rome", "Oslo") and use["id"]
    told = events(server, **body)
    parts = [e["delta"]["partial_json"] for e in told if e.get("delta", {}).get("type") == "input_json_delta"]
    assert json.loads("".join(parts))["city"] in ("Rome", "Oslo")
    starts = [e for e in told if e["type"] == "content_block_start"]
    assert starts[-1]["content_block"]["name"] == "weather" and told[-2]["delta"]["stop_reason"] == "tool_use"
    assert [e["index"] for e in starts] == list(range(len(starts)))


def test_blocks_become_messages(server):
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "in "}, {"type": "text", "text": "Rome?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "look"},
                {"type": "tool_use", "id": "one", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "well"},
                {"type": "tool_result", "tool_use_id": "one", "content": [{"type": "text", "text": "rain"}]},
            ],
        },
    ]
    same = [
        {"role": "user", "content": "in Rome?"},
        {
            "role": "assistant",
            "content": "look",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "one", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}],
        },
        {"role": "tool", "tool_call_id": "one", "content": "rain"},
        {"role": "user", "content": "well"},
    ]
    message = post(server, messages=turns, max_tokens=8, temperature=0)
    answer = openai(server, same, max_tokens=8)
    assert message["content"][0]["text"] == answer["choices"][0]["message"]["content"]
    counted = post(server, "/v1/messages/count_tokens", messages=turns)["input_tokens"]
    assert counted == answer["usage"]["prompt_tokens"]
    assert post(server, "/v1/messages/count_tokens", messages=turns, tools=[TOOL])["input_tokens"] > counted


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "a"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "content"),
        ({"messages": USER, "max_tokens": 0}, "max_tokens"),
        ({"messages": USER, "tool_choice": {"type": "any"}}, "needs tools"),
        ({"messages": USER, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "none of the tools"),
        ({"messages": USER, "tools": [{**TOOL, "name": "a b"}]}, "tools"),
    ],
)
def test_bad_bodies_are_refused(server, body, words):
    assert words in post(server, status=400, **body)["error"]["message"]


def test_the_key_of_its_clients(tmp_path):
    from spectralkv.serve.guard import GuardOptions

    path = write_tiny_model(tmp_path / "tiny.gguf")
    with serving(str(path), GuardOptions(keys=["secret"])) as running:
        for key, status in (("secret", 200), ("other", 401), ("", 401)):
            asked = httpx.get(running.url + "/v1/models", headers={"X-Api-Key": key})
            assert asked.status_code == status
        assert httpx.get(running.url + "/v1/health").status_code == 200
