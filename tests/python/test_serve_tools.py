"""Tool calls in each form: whole, cut anywhere, damaged; and the grammars that force them."""

import json

import pytest

pytest.importorskip("starlette")
pytest.importorskip("llguidance")

from spectralkv import Llama, _core
from spectralkv.serve.bodies import ChatBody
from spectralkv.serve.errors import ApiError
from spectralkv.serve.tools import Tools, ToolText, form_of, message_for_template

HERMES = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}"
LLAMA3 = '{% if tools %}{"name": function name, "parameters": dictionary}{% endif %}'
MISTRAL = "{% if tools %}[AVAILABLE_TOOLS]{{ tools }}[TOOL_CALLS]{% endif %}"
TEMPLATES = {"hermes": HERMES, "llama3": LLAMA3, "mistral": MISTRAL}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("weather", "time")]
ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'

# Template, answer, content, calls.
ANSWERS = [
    (HERMES, "It rains.", "It rains.", []),
    (HERMES, f'<tool_call>\n{{"name": "weather", "arguments": {ROME}}}\n</tool_call>', "", [("weather", ROME)]),
    (
        HERMES,
        f'I ask. <tool_call>{{"name": "weather", "arguments": {ROME}}}</tool_call>\n'
        f'<tool_call>{{"name": "time", "arguments": {OSLO}}}</tool_call>',
        "I ask.",
        [("weather", ROME), ("time", OSLO)],
    ),
    (
        HERMES,
        '<tool_call>{"name": "weather", "arguments": {"city"',
        '<tool_call>{"name": "weather", "arguments": {"city"',
        [],
    ),
    (HERMES, '<tool_call>["a"]</tool_call>', '<tool_call>["a"]</tool_call>', []),
    (HERMES, "a <tool b <tool_calm", "a <tool b <tool_calm", []),
    (LLAMA3, f'{{"name": "weather", "parameters": {ROME}}}', "", [("weather", ROME)]),
    (LLAMA3, f'<|python_tag|>{{"name": "time", "parameters": {OSLO}}}', "", [("time", OSLO)]),
    (
        LLAMA3,
        f'{{"name": "weather", "parameters": {ROME}}}; {{"name": "time", "parameters": {OSLO}}}',
        "",
        [("weather", ROME), ("time", OSLO)],
    ),
    (LLAMA3, 'The set {"name": 1}', 'The set {"name": 1}', []),
    (LLAMA3, '{"answer": 42}', '{"answer": 42}', []),
    (MISTRAL, f'[TOOL_CALLS][{{"name": "weather", "arguments": {ROME}}}]', "", [("weather", ROME)]),
    (
        MISTRAL,
        f"[TOOL_CALLS]weather[ARGS]{ROME}[TOOL_CALLS]time[CALL_ID]abc12[ARGS]{OSLO}",
        "",
        [("weather", ROME), ("time", OSLO)],
    ),
    (MISTRAL, "[TOOL_CALLS]nothing", "[TOOL_CALLS]nothing", []),
    (MISTRAL, "[TOOL] no", "[TOOL] no", []),
]
# What can be read, and not be given on as JSON, is no call.
NO_JSON = ('{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"\\udc80": 1}')
for arguments in NO_JSON:
    answer = f'<tool_call>{{"name": "time", "arguments": {arguments}}}</tool_call>'
    ANSWERS.append((HERMES, answer, answer, []))
    ANSWERS.append((MISTRAL, f"[TOOL_CALLS]time[ARGS]{arguments}", f"[TOOL_CALLS]time[ARGS]{arguments}", []))


def tools_of(template, **fields):
    body = ChatBody.model_validate({"messages": [{"role": "user", "content": "a"}], "tools": TOOLS, **fields})
    return Tools.of_body(body, template)


def said(calls):
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


@pytest.mark.parametrize(("template", "answer", "content", "calls"), ANSWERS)
def test_answers(template, answer, content, calls):
    got_content, got = tools_of(template).parse(answer)
    assert (got_content, said(got)) == (content, calls)
    assert len({call["id"] for call in got}) == len(got)
    one = tools_of(template, parallel_tool_calls=False).parse(answer)[1]
    assert said(one) == calls[:1]


@pytest.mark.parametrize(("template", "answer", "content", "calls"), ANSWERS)
def test_answers_in_pieces(template, answer, content, calls):
    """However an answer is cut, the parts are the whole, and nothing of a call is given out as content."""
    for size in (1, 2, 3, 7, len(answer)):
        text = ToolText(tools_of(template))
        out = "".join(text.put(answer[i : i + size]) for i in range(0, len(answer), size))
        if calls:
            assert out.strip() == content
        rest, got = text.finish()
        assert (out + rest).strip() == content.strip() and said(got) == calls


def test_forms():
    assert [form_of(template).name for template in TEMPLATES.values()] == list(TEMPLATES)
    assert form_of("{{ messages }}<tool_call>") is None and form_of("{{ tools }}") is None
    with pytest.raises(ApiError, match="no tools"):
        tools_of("{{ messages }}")
    assert tools_of("{{ messages }}", tool_choice="none") is None


def test_messages_for_templates():
    call = {"id": "1", "function": {"name": "weather", "arguments": ROME}}
    message = message_for_template({"role": "assistant", "tool_calls": [call]})
    assert message["content"] == "" and message["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}
    call["function"]["arguments"] = "no JSON"
    assert (
        message_for_template({"role": "assistant", "tool_calls": [call]})["tool_calls"][0]["function"]["arguments"]
        == "no JSON"
    )


@pytest.mark.parametrize("arguments", NO_JSON)
def test_arguments_that_are_no_json_stay_a_text(arguments):
    call = {"function": {"name": "f", "arguments": arguments}}
    [made] = message_for_template({"role": "assistant", "tool_calls": [call]})["tool_calls"]
    assert made["function"]["arguments"] == arguments


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "time"}}])
@pytest.mark.parametrize("form", TEMPLATES)
def test_forced_calls_can_be_read(tiny_model, form, choice):
    tools = tools_of(TEMPLATES[form], tool_choice=choice, parallel_tool_calls=False)
    with Llama(tiny_model, n_ctx=256, verbose=False) as llama:
        for seed in range(3):
            answer = llama.create_completion(
                "a", grammar=tools.grammar(llama._tokenizer), max_tokens=250, temperature=1.5, seed=seed
            )["choices"][0]
            assert answer["finish_reason"] == "stop"
            content, calls = tools.parse(answer["text"])
            assert content == "" and len(calls) == 1 and json.loads(calls[0]["function"]["arguments"])["city"]
            assert calls[0]["function"]["name"] in (["weather", "time"] if choice == "required" else ["time"])


def test_a_marker_that_is_a_control_token():
    """It is forced as that token, not as its text."""
    from support.tiny_model import byte_alphabet

    from spectralkv.grammar import Vocabulary

    names = [*byte_alphabet(), "[TOOL_CALLS]", "</s>"]
    tokenizer = _core.Tokenizer("gpt2", names, [], [1] * 256 + [3, 3], [], "gpt-2", eos=257)
    masks = Vocabulary(tokenizer).masks(tools_of(MISTRAL, tool_choice="required").grammar(tokenizer))
    assert masks(-1) == (1 << 256).to_bytes(36, "little")
    assert tokenizer.is_control(256) and int.from_bytes(masks(256), "little") & (1 << tokenizer.encode(b"[")[0])


def test_a_template_as_it_is_in_the_wild(root):
    """Qwen2.5's: what it writes for a call is what is parsed."""
    from spectralkv.chat import format_chat

    template = (root / "tests" / "support" / "qwen2_5_chat.jinja").read_text()
    call = {"id": "1", "function": {"name": "weather", "arguments": ROME}}
    messages = [
        {"role": "user", "content": "Rain?"},
        message_for_template({"role": "assistant", "tool_calls": [call]}),
        {"role": "tool", "tool_call_id": "1", "content": "no"},
    ]
    tools = tools_of(template)
    prompt = format_chat(template, messages, True, "", "", {"tools": tools.for_template()})
    assert '"name": "weather"' in prompt and "<tool_response>\nno\n</tool_response>" in prompt
    turn = prompt[prompt.index("<|im_start|>assistant") :].split("<|im_end|>")[0]
    assert said(tools.parse(turn.removeprefix("<|im_start|>assistant"))[1]) == [("weather", ROME)]
