"""LangChain's adapter for OpenAI's API, as a smoke test."""

import pytest

pytest.importorskip("starlette")
langchain_openai = pytest.importorskip("langchain_openai")

from support.serving import serving  # noqa: E402


@pytest.fixture(scope="module")
def chat(tiny_model):
    with serving(tiny_model) as server:
        yield langchain_openai.ChatOpenAI(
            base_url=f"{server.url}/v1", api_key="none", model="any", max_tokens=12, temperature=0, max_retries=0
        )


def test_an_answer_and_its_stream(chat):
    messages = [("system", "be brief"), ("human", "hello there")]
    answer = chat.invoke(messages)
    assert isinstance(answer.content, str) and answer.usage_metadata["output_tokens"] <= 12
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert "".join(chunk.content for chunk in chat.stream(messages)) == answer.content


def test_several_at_a_time(chat):
    questions = [[("human", f"question {i}")] for i in range(6)]
    together = [answer.content for answer in chat.batch(questions)]
    assert together == [chat.invoke(question).content for question in questions]


def test_structured_output(chat):
    schema = {
        "title": "City",
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    chat = chat.bind(max_tokens=60)
    structured = chat.bound.with_structured_output(schema, method="json_schema")
    assert structured.invoke("which city?", max_tokens=60)["city"] in ("Rome", "Oslo")
