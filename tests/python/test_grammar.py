"""Constrained output: what comes follows its grammar, whatever the model would rather say."""

import json
import re

import numpy as np
import pytest
from support.tiny_model import byte_alphabet

from spectralkv import Llama, LlamaGrammar, _core
from spectralkv.cli import main

pytest.importorskip("llguidance")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "kind": {"enum": ["é", "né\n", 7, None]},
        "children": {
            "type": "array",
            "maxItems": 2,
            "items": {
                "type": "object",
                "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 150}, "fast": {"type": "boolean"}},
                "required": ["age", "fast"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["name", "kind", "children"],
    "additionalProperties": False,
}
NEST = 'root ::= "(" root ")" | "[" root "]" | "x" | "yé"'


@pytest.fixture(scope="module")
def llama(tiny_model):
    with Llama(tiny_model, n_ctx=256, seed=1, verbose=False) as llama:
        yield llama


def answers(llama, n=12, **options):
    for seed in range(n):
        result = llama.create_completion("Once", max_tokens=None, temperature=1.5, top_k=0, seed=seed, **options)
        assert "<|" not in result["choices"][0]["text"]
        yield result["choices"][0]["text"], result["choices"][0]["finish_reason"]


def check_person(value):
    assert list(value) == ["name", "kind", "children"]
    assert isinstance(value["name"], str) and len(value["name"]) <= 6
    assert value["kind"] in ["é", "né\n", 7, None] and len(value["children"]) <= 2
    for child in value["children"]:
        assert set(child) == {"age", "fast"} and 0 <= child["age"] <= 150 and isinstance(child["fast"], bool)


def test_json_follows_its_schema(llama):
    ended = 0
    for text, reason in answers(llama, grammar=LlamaGrammar.from_json_schema(PERSON)):
        if reason == "stop":
            check_person(json.loads(text))
            ended += 1
    assert ended > 6  # the others filled the context with blanks


def test_expressions_with_unicode(llama):
    for text, reason in answers(llama, grammar=LlamaGrammar.from_regex("[a-cé]{3}-[0-9]{4}( żółw)?")):
        assert reason == "stop" and re.fullmatch("[a-cé]{3}-[0-9]{4}( żółw)?", text)


def test_recursion(llama):
    for text, reason in answers(llama, grammar=NEST):
        closing = {"(": ")", "[": "]"}
        opened = re.match(r"[(\[]*", text)[0]
        whole = opened + "{}" + "".join(closing[c] for c in reversed(opened))
        if reason == "stop":
            assert text in (whole.format("x"), whole.format("yé"))


def test_lark_and_the_end(llama):
    """A grammar that is complete ends the text at once, before anything else is drawn."""
    result = llama.create_completion("Once", max_tokens=50, grammar='start: "hello" | "hello there"', seed=3)
    assert result["choices"][0]["text"] in ("hello", "hello there")
    assert result["choices"][0]["finish_reason"] == "stop"


def test_streams_and_log_probabilities_are_the_same_answer(llama):
    options = {"max_tokens": 40, "temperature": 0, "grammar": "root ::= [a-f]+ [0-9]", "logprobs": 2}
    whole = llama.create_completion("a", **options)["choices"][0]
    parts = [chunk["choices"][0] for chunk in llama.create_completion("a", stream=True, **options)]
    assert "".join(part["text"] for part in parts) == whole["text"]
    assert all(value <= 0 for value in whole["logprobs"]["token_logprobs"])


def test_response_formats_of_a_chat(llama):
    messages = [{"role": "user", "content": "x"}]
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    for form in (
        {"type": "json_object", "schema": schema},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        {"type": "json_schema", "schema": schema},
    ):
        answer = llama.create_chat_completion(messages, response_format=form, max_tokens=200, seed=1)
        assert json.loads(answer["choices"][0]["message"]["content"])["a"] in (1, 2)
    answer = llama.create_chat_completion(messages, response_format={"type": "json_object"}, max_tokens=3)
    assert answer["choices"][0]["message"]["content"].startswith("{")
    llama.create_chat_completion(messages, response_format={"type": "text"}, max_tokens=3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: 'root ::= "a', "the grammar"),
        (lambda: "root ::= nothing", "nothing"),
        (lambda: "  ", "empty"),
        (lambda: LlamaGrammar.from_regex("(a"), "the expression"),
        (lambda: LlamaGrammar.from_json_schema({"type": "blah"}), "blah"),
        (lambda: LlamaGrammar.from_json_schema("{"), "no JSON"),
        (lambda: LlamaGrammar.from_json_schema([1]), "must be an object"),
        (lambda: LlamaGrammar.from_json_schema({"propertyNames": {"pattern": "a"}}), "propertyNames"),
        (lambda: LlamaGrammar.from_json_schema({"$ref": "https://example.org/x"}), "the JSON schema"),
        (lambda: LlamaGrammar.from_string("x" * (1 << 20) + "x"), "characters"),
    ],
)
def test_what_is_wrong_is_told(llama, make, words):
    with pytest.raises(ValueError, match=words):
        llama.create_completion("a", max_tokens=4, grammar=make())


def test_arguments_of_the_wrong_kind(llama):
    with pytest.raises(TypeError, match="grammar must be"):
        llama.create_completion("a", grammar=5)
    for bad in ("json", {"type": "xml"}, {"type": "json_schema"}, {}):
        with pytest.raises(ValueError, match="response_format"):
            llama.create_chat_completion([{"role": "user", "content": "a"}], response_format=bad)


def test_a_vocabulary_that_puts_spaces_in_front():
    """Of SentencePiece's kind: forced text is found token by token, without the space of a text's start."""
    from spectralkv.grammar import Vocabulary

    letters = [f"<0x{b:02X}>" for b in range(256)]
    names = ["<unk>", "<s>", "</s>", *letters, "▁", "a", "b", "▁a", "ab", "▁ab"]
    tokenizer = _core.Tokenizer(
        "llama",
        names,
        [0.0] * 259 + [-float(i) for i in range(6)],
        [2, 3, 3] + [6] * 256 + [1] * 6,
        [],
        "",
        bos=1,
        eos=2,
        unk=0,
    )
    for seed in range(5):
        masks = Vocabulary(tokenizer).masks(LlamaGrammar.from_regex("(ab|é)(ab)* b"))
        rng, token, text = np.random.default_rng(seed), -1, b""
        while not tokenizer.is_end(token):
            bits = np.unpackbits(np.frombuffer(masks(token), np.uint8), bitorder="little")[: len(names)]
            assert not bits[:2].any()  # neither <unk> nor <s>
            token = int(rng.choice(np.flatnonzero(bits)))
            text += tokenizer.piece(token)
        assert re.fullmatch("(ab|é)(ab)* b", text.decode())


def test_without_an_end_token_nothing_can_end():
    names = byte_alphabet()
    tokenizer = _core.Tokenizer("gpt2", names, [], [1] * 256, [], "gpt-2")
    from spectralkv.grammar import Vocabulary

    with pytest.raises(ValueError, match="no end token"):
        Vocabulary(tokenizer)


def test_masks_of_the_wrong_form(llama):
    llama.reset()
    llama.eval([5])
    for mask, error in ((b"\xff", ValueError), (bytes(40), ValueError), ("x", TypeError), (None, TypeError)):
        generation = _core.Generation(llama._session, _core.SamplingOptions(), allowed=lambda _, m=mask: m)
        with pytest.raises(error):
            generation.next()

    def fail(_):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        _core.Generation(llama._session, _core.SamplingOptions(), allowed=fail).next()


def test_penalties(llama):
    plain = llama.create_completion("a", max_tokens=40, temperature=0)["choices"][0]["text"]
    for name in ("frequency_penalty", "presence_penalty"):
        other = llama.create_completion("a", max_tokens=40, temperature=0, **{name: 2.0})["choices"][0]["text"]
        assert len(set(other)) >= len(set(plain)) and other != plain
        with pytest.raises(ValueError, match=name):
            llama.create_completion("a", **{name: float("inf")})


def test_command_line(tiny_model, capfd, tmp_path):
    base = ["run", "-m", tiny_model, "-no-cnv", "-p", "a", "--no-display-prompt", "-n", "100", "-s", "1"]
    assert main([*base, "--grammar", 'root ::= "yes" | "no"']) == 0
    assert capfd.readouterr().out.strip() in ("yes", "no")
    path = tmp_path / "numbers.gbnf"
    path.write_text("root ::= [0-9] [0-9]\n")
    assert main([*base, "--grammar-file", str(path)]) == 0
    assert re.fullmatch(r"\d\d\n", capfd.readouterr().out)
    assert main([*base, "--json-schema", '{"enum": ["x", 5]}']) == 0
    assert json.loads(capfd.readouterr().out) in ("x", 5)
    assert main([*base, "--grammar", "root ::= ("]) == 1
    assert "the grammar" in capfd.readouterr().err
    assert main([*base, "--grammar", "a", "--json-schema", "{}"]) == 2
    assert "only one" in capfd.readouterr().err
    assert _core.cli_main([*base, "--grammar", "a"]) == 2
    assert ".[grammar]" in capfd.readouterr().err


def test_demo_model_says_json(demo_model):
    with Llama(demo_model, n_ctx=512, verbose=False) as llama:
        answer = llama.create_chat_completion(
            [{"role": "user", "content": "Describe Tom, a farmer with two children, in JSON."}],
            response_format={"type": "json_object", "schema": PERSON},
            temperature=0,
            max_tokens=200,
        )["choices"][0]
    assert answer["finish_reason"] == "stop"
    check_person(json.loads(answer["message"]["content"]))
