"""Chats in the form of OpenAI's Responses API, as OpenAI's own client sees them: the same answers as completions'."""

import json

import pytest
from support.tiny_model import write_tiny_model

pytest.importorskip("starlette")
openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx")

from support.serving import serving  # noqa: E402

from spectralkv.serve.prefixes import beginning  # noqa: E402
from spectralkv.serve.unsupported import REASONS  # noqa: E402

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}<tool_call>"
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.city }}]{% endfor %}"
    "<|im_end|>{% endfor %}<|im_start|>assistant\n"
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "weather", "description": "of a city", "parameters": SCHEMA, "strict": True}
USER = {"role": "user", "content": "hello there"}
OPTIONS = {"model": "x", "input": "hello there", "max_output_tokens": 20, "temperature": 0}
CHAT = {"model": "x", "messages": [USER], "max_tokens": 20, "temperature": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("responses") / "tiny.gguf"
    write_tiny_model(path, context_length=4096, chat_template=TEMPLATE)
    with serving(str(path), n_parallel=4) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_answer_is_that_of_a_chat_completion(client):
    response = client.responses.create(**OPTIONS, instructions="be brief", metadata={"a": "b"})
    chat = client.chat.completions.create(**CHAT | {"messages": [{"role": "system", "content": "be brief"}, USER]})
    assert response.output_text == chat.choices[0].message.content
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
        chat.usage.total_tokens,
    )
    assert response.status == {"length": "incomplete", "stop": "completed"}[chat.choices[0].finish_reason]
    if response.status == "incomplete":
        assert response.incomplete_details.reason == "max_output_tokens"
    assert response.instructions == "be brief" and response.metadata == {"a": "b"} and response.store is False
    assert response.output[0].role == "assistant" and response.output[0].status == response.status


def test_a_stream_is_the_answer_in_parts(client):
    whole = client.responses.create(**OPTIONS)
    events = list(client.responses.create(**OPTIONS, stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    n = kinds.count("output_text.delta")
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * n,
        *("output_text.done", "content_part.done", "output_item.done", whole.status),
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1].response
    assert text == whole.output_text == events[-4].text == last.output_text
    assert events[0].response.id == last.id and events[0].response.usage is None
    assert last.usage.output_tokens == whole.usage.output_tokens and last.output == [events[-2].item]


def test_the_clients_own_stream(client):
    with client.responses.stream(**OPTIONS) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == client.responses.create(**OPTIONS).output_text


def test_items_become_messages(client):
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "in "}] * 2},
        {"role": "assistant", "content": [{"type": "output_text", "text": "look", "annotations": []}]},
        {"type": "function_call", "call_id": "one", "name": "weather", "arguments": '{"city": "Rome"}'},
        {"type": "function_call", "call_id": "two", "name": "weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "one", "output": "rain"},
        {"type": "function_call_output", "call_id": "two", "output": [{"type": "input_text", "text": "sun"}]},
    ]
    calls = [
        {"id": item["call_id"], "function": {"name": "weather", "arguments": item["arguments"]}} for item in items[3:5]
    ]
    same = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "in in "},
        {"role": "assistant", "content": "look", "tool_calls": [{"type": "function", **call} for call in calls]},
        {"role": "tool", "tool_call_id": "one", "content": "rain"},
        {"role": "tool", "tool_call_id": "two", "content": "sun"},
    ]
    tool = {"type": "function", "function": {name: value for name, value in TOOL.items() if name != "type"}}
    response = client.responses.create(**OPTIONS | {"input": items}, tools=[TOOL])
    chat = client.chat.completions.create(**CHAT | {"messages": same}, tools=[tool])
    assert response.output_text == chat.choices[0].message.content
    assert response.usage.input_tokens == chat.usage.prompt_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_tools(client, choice, stream):
    options = {**OPTIONS, "max_output_tokens": 200, "temperature": 1, "tools": [TOOL], "tool_choice": choice}
    if stream:
        *events, last = client.responses.create(**options, stream=True)
        response = last.response
        (part,) = [event for event in events if event.type == "response.function_call_arguments.delta"]
        assert part.delta == response.output[-1].arguments and part.output_index == len(response.output) - 1
        assert part.item_id == response.output[-1].id and events[-1].item == response.output[-1]
    else:
        response = client.responses.create(**options)
    call = response.output[-1]
    assert (response.status, call.type, call.name, call.status) == (
        "completed",
        "function_call",
        "weather",
        "completed",
    )
    assert json.loads(call.arguments)["city"] in ("Rome", "Oslo") and call.call_id
    assert response.tools[0].name == "weather"
    again = [USER, call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    assert client.responses.create(**OPTIONS | {"input": again}).object == "response"


def test_text_that_follows_a_schema(client):
    form = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}
    response = client.responses.create(**OPTIONS | {"max_output_tokens": 200, "temperature": 1}, text={"format": form})
    assert json.loads(response.output_text)["city"] in ("Rome", "Oslo")
    assert response.text.format.name == "place" and response.text.format.schema_ == SCHEMA


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format"),
    ],
)
def test_what_is_refused(client, more, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**OPTIONS | more)
    assert refused.value.body["param"].startswith(param) and refused.value.body["message"]


def test_no_response_is_kept(client):
    response = client.responses.create(**OPTIONS)
    for use in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.BadRequestError, match="no responses are kept"):
            use(response.id)


def test_a_stream_that_fails_is_an_error_of_the_client(client):
    """Its time runs out before the first token."""
    options = {**OPTIONS, "stream": True, "extra_body": {"timeout": 1e-6}}
    with pytest.raises(openai.APIError, match="ran out"):
        list(client.responses.create(**options))


def test_what_a_replica_is_chosen_by():
    body = {"instructions": "be brief", "input": [USER], "tools": [TOOL]}
    text = beginning("/v1/responses", json.dumps(body).encode())
    assert text.endswith("be brief\nuser\nhello there") and "weather" in text
    assert beginning("/responses", b'{"instructions": "a", "input": "b"}') == "ab"


@pytest.mark.parametrize(("method", "path"), REASONS)
def test_routes_that_are_not_supported(server, method, path):
    answer = httpx.request(method, server.url + path, json={} if method == "POST" else None)
    error = answer.json()["error"]
    assert answer.status_code == 501 and error["type"] == "not_supported_error"
    assert error["message"] == REASONS[method, path]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"input": "Hi", "max_output_tokens": -5}, "max_output_tokens", "greater than or equal to 1"),
        ({"input": []}, "input", "at least 1 item"),
        ({"input": [{"type": "reasoning"}]}, "input.0", "function_call_output"),
        ({"input": [{"type": 5}]}, "input.0", "message"),
        ({"input": ["Hi"]}, "input.0", "message"),
        ({"input": [{"type": "function_call", "name": "a"}]}, "input.0.call_id", "required"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.type", "input_text"),
    ],
)
def test_refusals_name_the_part_of_the_body(server, body, param, said):
    error = httpx.post(server.url + "/v1/responses", json=body).json()["error"]
    assert error["param"] == param and error["message"].startswith(param + ": ") and said in error["message"]
