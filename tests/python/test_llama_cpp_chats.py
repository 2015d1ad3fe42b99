"""Chats as programs for llama-cpp-python use them: formats by name, handlers, tools, OpenAI's objects."""

import json
import subprocess
import sys
import textwrap

import pytest

from spectralkv import Llama
from spectralkv.chat import format_chat
from spectralkv.chat_formats import FORMATS

TOOLS_TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
CITY = {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]}
WEATHER = {"name": "weather", "parameters": {**CITY, "additionalProperties": False}}
TOOL = {"type": "function", "function": WEATHER}


@pytest.fixture(scope="module")
def llama(tiny_model):
    with Llama(tiny_model, n_ctx=128, n_threads=2, verbose=False) as model:
        yield model


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "I."},
    {"role": "user", "content": "Why?"},
]


def test_formats_beside_llama_cpps(llama_cpp_python):
    """Where theirs keep the system message, write no empty one and open the answer, the prompts are equal."""
    names = {"chatml": [0], "qwen": [0, 1], "mistral-instruct": [0, 1], "llama-3": [0, 1], "vicuna": [1]}
    script = """
        import json, sys
        from llama_cpp import llama_chat_format as f
        names, messages = json.load(sys.stdin)
        functions = {"vicuna": f.format, "mistral-instruct": f.format_mistral_instruct, "llama-3": f.format_llama3}
        make = {name: functions.get(name) or getattr(f, "format_" + name) for name in names}
        print(json.dumps({name: [make[name](messages=m).prompt for m in messages] for name in names}))
    """
    chats = [MESSAGES, MESSAGES[1:2]]
    given = json.dumps([list(names), chats])
    result = subprocess.run(
        [llama_cpp_python, "-c", textwrap.dedent(script)], input=given, capture_output=True, text=True, check=True
    )
    for name, prompts in json.loads(result.stdout).items():
        for i in names[name]:
            assert format_chat(FORMATS[name].template, chats[i], True, "<s>", "</s>") == prompts[i], name


@pytest.mark.parametrize("name", FORMATS)
def test_formats_by_name(tiny_model, name):
    llama = Llama(tiny_model, n_ctx=512, chat_format=name, verbose=False)
    result = llama.create_chat_completion(MESSAGES, max_tokens=4, temperature=0)
    shown = format_chat(FORMATS[name].template, MESSAGES, True, "<|endoftext|>", "<|im_end|>")
    assert result["usage"]["prompt_tokens"] == len(llama._tokenizer.encode_prompt(shown.encode()))
    assert "Who?" in shown and "I." in shown and "Why?" in shown
    assert "Be brief." in shown or name == "mistral-instruct"


def test_an_unknown_format_is_named(tiny_model):
    with pytest.raises(ValueError, match="'pygmalion' is not supported; there are chatml,"):
        Llama(tiny_model, chat_format="pygmalion", verbose=False)


def test_a_chat_handler_answers(tiny_model):
    def handler(*, llama, messages, temperature, tools, **more):
        assert {"stream", "max_tokens", "response_format"} <= set(more)
        return llama.create_completion(messages[0]["content"], temperature=temperature, max_tokens=3), tools

    llama = Llama(tiny_model, n_ctx=64, chat_handler=handler, verbose=False)
    result, tools = llama.create_chat_completion([{"role": "user", "content": "hello"}], tools=[TOOL], temperature=0)
    assert result["object"] == "text_completion" and tools == [TOOL]


def test_a_tokenizer_of_ones_own(tiny_model):
    class Bytes:
        def tokenize(self, text, add_bos=True, special=True):
            return [byte + 3 for byte in text]

        def detokenize(self, tokens, prev_tokens=None, special=False):
            return bytes(token - 3 for token in tokens)

    llama = Llama(tiny_model, n_ctx=64, tokenizer=Bytes(), verbose=False)
    assert llama.detokenize(llama.tokenize(b"hello")) == b"hello"
    assert llama("hello", max_tokens=1)["usage"]["prompt_tokens"] == 5


# ---- tools

SAID = 'I ask. <tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def saying(llama, text):
    """A logits processor that makes the model say a text, then its end."""
    tokens = [*llama.tokenize(text.encode(), add_bos=False), llama.token_eos()]
    start = []

    def processor(input_ids, scores):
        start.append(len(input_ids))
        scores[:] = -1e9
        scores[tokens[len(input_ids) - start[0]]] = 0
        return scores

    return processor


@pytest.fixture(scope="module")
def tools_llama(tmp_path_factory):
    from support.tiny_model import write_tiny_model

    path = write_tiny_model(tmp_path_factory.mktemp("tools") / "tiny.gguf", chat_template=TOOLS_TEMPLATE)
    with Llama(str(path), n_ctx=1024, verbose=False) as model:
        yield model


def asked(llama, **options):
    return llama.create_chat_completion([{"role": "user", "content": "Rain?"}], temperature=0, **options)


@pytest.mark.parametrize("stream", [False, True])
def test_calls_come_out_of_answers(tools_llama, stream):
    result = asked(tools_llama, tools=[TOOL], logits_processor=saying(tools_llama, SAID), stream=stream)
    if not stream:
        choice = result["choices"][0]
        message, reason = choice["message"], choice["finish_reason"]
    else:
        deltas = [chunk["choices"][0] for chunk in result]
        message = {
            "content": "".join(d["delta"].get("content") or "" for d in deltas).strip(),
            "tool_calls": [call for d in deltas for call in d["delta"].get("tool_calls", [])],
        }
        reason = deltas[-1]["finish_reason"]
    assert message["content"] == "I ask." and reason == "tool_calls"
    (call,) = message["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'} and call["id"]


def test_functions_are_the_older_form(tools_llama):
    result = asked(tools_llama, functions=[WEATHER], logits_processor=saying(tools_llama, SAID))
    choice = result["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    plain = asked(tools_llama, functions=[WEATHER], function_call="none", logits_processor=saying(tools_llama, SAID))
    assert plain["choices"][0]["message"]["content"] == SAID


def test_a_call_that_must_come(tools_llama):
    pytest.importorskip("llguidance")
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ({"tool_choice": named}, {"tool_choice": "required"}):
        message = asked(tools_llama, tools=[TOOL], max_tokens=200, **choice)["choices"][0]["message"]
        assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    message = asked(tools_llama, functions=[WEATHER], function_call={"name": "weather"})["choices"][0]["message"]
    assert message["function_call"]["name"] == "weather"


def test_tools_that_cannot_be(llama, tools_llama):
    with pytest.raises(ValueError, match="no tools in a form that is known"):
        asked(llama, tools=[TOOL])
    for wrong in ([{}], [{"function": {}}], [5]):
        with pytest.raises(ValueError, match=r"tools\[0\]"):
            asked(tools_llama, tools=wrong)
    for name in ("tools", "functions"):
        with pytest.raises(ValueError, match=f"{name} must be a list, not 5"):
            asked(tools_llama, **{name: 5})
    with pytest.raises(ValueError, match="tool_choice names 'x'"):
        asked(tools_llama, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "x"}})
    with pytest.raises(ValueError, match="tool_choice needs tools"):
        asked(tools_llama, tool_choice="required")
    with pytest.raises(ValueError, match="tools and functions"):
        asked(tools_llama, tools=[TOOL], functions=[WEATHER])


def test_any_model_with_chatml_function_calling(tiny_model):
    pytest.importorskip("llguidance")
    llama = Llama(tiny_model, n_ctx=1024, chat_format="chatml-function-calling", verbose=False)
    answer = asked(llama, tools=[TOOL], tool_choice="required")["choices"][0]["message"]
    (call,) = answer["tool_calls"]
    later = [
        {"role": "user", "content": "Rain?"},
        answer,
        {"role": "tool", "tool_call_id": call["id"], "content": "no"},
    ]
    assert llama.create_chat_completion(later, tools=[TOOL], max_tokens=4)["usage"]["prompt_tokens"] > 100


def test_calls_of_earlier_turns(tools_llama):
    call = {"name": "weather", "arguments": '{"city": "Rome"}'}
    older = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "weather", "content": "no"},
    ]
    newer = [
        older[0],
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": "no"},
    ]
    used = [
        tools_llama.create_chat_completion(messages, max_tokens=1)["usage"]["prompt_tokens"]
        for messages in (older, newer)
    ]
    assert used[0] == used[1]
    with pytest.raises(ValueError, match=r"messages\[0\]: a call needs"):
        tools_llama.create_chat_completion([{"role": "assistant", "tool_calls": [{"id": "1"}]}])


def test_openais_objects(tools_llama):
    chat = pytest.importorskip("openai.types.chat")
    messages = [{"role": "user", "content": "Rain?"}]
    options = {"tools": [TOOL], "temperature": 0}
    processor = saying(tools_llama, SAID)
    result = tools_llama.create_chat_completion_openai_v1(messages, logits_processor=processor, **options)
    assert isinstance(result, chat.ChatCompletion)
    assert result.choices[0].message.tool_calls[0].function.name == "weather"
    processor = saying(tools_llama, SAID)
    chunks = tools_llama.create_chat_completion_openai_v1(messages, stream=True, logits_processor=processor, **options)
    assert all(isinstance(chunk, chat.ChatCompletionChunk) for chunk in chunks)


def test_openais_objects_need_openai(tiny_model):
    script = f"""
        import sys
        sys.modules["openai.types.chat"] = None
        from spectralkv import Llama
        Llama({tiny_model!r}, verbose=False).create_chat_completion_openai_v1([])
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert "ImportError" in result.stderr and "pip install openai" in result.stderr
