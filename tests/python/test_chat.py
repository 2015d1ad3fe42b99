"""Chat templates in the sandbox, and chat completions on a tiny model."""

import math
import re

import pytest

from spectralkv import Llama
from spectralkv.chat import format_chat

USER = [{"role": "user", "content": "hello"}]
BIAS = {0: -math.inf, 2: -math.inf}


def render(source, messages=USER, add_generation_prompt=True):
    return format_chat(source, messages, add_generation_prompt, "<s>", "</s>")


@pytest.fixture(scope="module")
def llama(tiny_model):
    with Llama(tiny_model, n_ctx=128, verbose=False) as model:
        yield model


# ---- templates


def test_variables_and_whitespace():
    source = (
        "{{ bos_token }}{% for m in messages %}\n  {% if true %}\n[{{ m.role }}] {{ m['content'] }}{{ eos_token }}\n"
        "  {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}>{% endif %}"
    )
    assert render(source) == "<s>[user] hello</s>\n>"
    assert render(source, add_generation_prompt=False) == "<s>[user] hello</s>\n"


def test_tojson_keeps_characters():
    assert render("{{ messages | tojson }}", [{"role": "user", "content": "<é>"}]) == (
        '[{"role": "user", "content": "<é>"}]'
    )


def test_strftime_now_and_loop_controls():
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", render("{{ strftime_now('%Y-%m-%d') }}"))
    assert render("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "012"


def test_raise_exception_is_a_value_error_with_its_words():
    with pytest.raises(ValueError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__ }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{% for %}",
        "{{ 1 / 0 }}",
        "{{ messages[99].role.x }}",
        "{{ range(999999999) }}",
        "{{ 'a' * 10**10 }}",
        "{{ 10000000000 * 'a' }}",
        "{{ 2 ** 100000000 }}",
        "{{ 'a' | center(10000000000) }}",
        "{{ 'a'.ljust(10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' | format(10000000000, 1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ (('a' * 1000000).replace('a', 'b' * 1000000)) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ ([1] * 1000000) | join('b' * 1000000) }}",
        "{{ ('b' * 1000000).join(['c'] * 1000000) }}",
        "{% set ns = namespace(x='aaaa') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaa') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% for i in range(60000) %}{% for j in range(60000) %}aaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ 'x'.index('q') }}",
        "{{ '\\ud800' }}",
    ],
)
def test_hostile_and_broken_templates(source):
    with pytest.raises(ValueError, match=r"\[chat\] the model's chat template"):
        render(source)


def test_the_bounds_leave_templates_alone():
    source = (
        "{% set ns = namespace(x='', n=0) %}{% for m in messages %}{% set ns.x = ns.x + '<' ~ m.role ~ '>' %}"
        "{% set ns.n = (ns.n + 3) * 2 ** 2 % 7 %}{{ '%s|' % m.content }}{{ '-' * 10 }}{{ ['a', 'b'] | join(', ') }}"
        "{{ m.content.replace('l', 'L') | indent(2) }}{{ m.content | center(9) }}{% endfor %}{{ ns.x }}{{ ns.n }}"
    )
    assert render(source) == "hello|----------a, bheLLo  hello  <user>5"
    long = [{"role": "user", "content": "x" * 4_000_000}]
    assert len(render("{{ '<s>' + messages[0].content + '</s>' }}", long)) == 4_000_007


def test_bytes_that_are_no_utf8_pass_through():
    assert render("{{ messages[0].content }}", [{"role": "user", "content": "caf\udce9"}]) == "caf\udce9"


def test_qwen2_5(root):
    """The template of Qwen2.5's instruct models; tests/cpp/cli/chat_test.cc has the same chats without Jinja."""
    source = (root / "tests" / "support" / "qwen2_5_chat.jinja").read_text(encoding="utf-8")
    system = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    one = [{"role": "user", "content": "Hi"}]
    three = [*one, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": " What? "}]
    asked = "<|im_start|>user\nHi<|im_end|>\n"
    answered = asked + "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\n What? <|im_end|>\n"
    assert render(source, one) == system + asked + "<|im_start|>assistant\n"
    assert render(source, three, False) == system + answered
    kind = [{"role": "system", "content": "Be kind."}, *three]
    assert render(source, kind, False) == "<|im_start|>system\nBe kind.<|im_end|>\n" + answered
    empty = [{"role": "system", "content": ""}, *one]
    assert render(source, empty, False) == "<|im_start|>system\n<|im_end|>\n" + asked


def test_no_template():
    with pytest.raises(ValueError, match="no chat template"):
        render("")


def test_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render("{{ messages[0].content }}", [{"role": "user", "content": parts}]) == "ab"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "hello",
        {"role": "user"},
        [{"content": "x"}],
        ["x"],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
    ],
)
def test_messages_of_the_wrong_form(messages):
    with pytest.raises(ValueError, match=r"\[chat\]"):
        render("{{ messages }}", messages)


# ---- chat completions


def test_chat_dict(llama):
    result = llama.create_chat_completion(USER, temperature=0, max_tokens=6, logit_bias=BIAS)
    assert set(result) == {"id", "object", "created", "model", "choices", "usage"}
    assert result["object"] == "chat.completion"
    (choice,) = result["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "length"
    prompt = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert result["usage"]["prompt_tokens"] == len(llama.tokenize(prompt.encode(), special=True))
    expected = llama(prompt, temperature=0, max_tokens=6, logit_bias=BIAS)["choices"][0]["text"]
    assert choice["message"]["content"] == expected


def test_chat_stream_equals_whole(llama):
    options = {"temperature": 1.2, "seed": 5, "max_tokens": 30, "logprobs": True, "top_logprobs": 2}
    whole = llama.create_chat_completion(USER, **options)["choices"][0]
    chunks = list(llama.create_chat_completion(USER, stream=True, **options))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant"}
    assert choices[-1]["delta"] == {}
    assert choices[-1]["finish_reason"] == whole["finish_reason"]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == whole["message"]["content"]
    records = sum((choice["logprobs"]["content"] for choice in choices if choice["logprobs"]), [])
    assert records == whole["logprobs"]["content"]
    assert all(set(record) == {"token", "logprob", "bytes", "top_logprobs"} for record in records)
    assert all(len(record["top_logprobs"]) == 2 for record in records)


def test_chat_without_a_template(make_tiny):
    llama = Llama(make_tiny(chat_template=None), verbose=False)
    with pytest.raises(ValueError, match="no chat template"):
        llama.create_chat_completion(USER)


def test_a_template_that_writes_bos_does_not_get_it_twice(make_tiny):
    path = make_tiny(chat_template="{{ bos_token }}{{ messages[0].content }}", add_bos=True)
    llama = Llama(path, verbose=False)
    result = llama.create_chat_completion(USER, max_tokens=1)
    tokens = llama.tokenize(b"hello")  # with BOS
    assert tokens[0] == 0
    assert result["usage"]["prompt_tokens"] == len(tokens)


def test_demo_model_answers(demo_model):
    llama = Llama(demo_model, n_ctx=256, verbose=False)
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    result = llama.create_chat_completion(messages, temperature=0, max_tokens=16)
    assert "Paris" in result["choices"][0]["message"]["content"]
    assert result["choices"][0]["finish_reason"] == "stop"
