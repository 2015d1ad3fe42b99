"""What a request begins with, as the routing to replicas sees it, and what the command says of replicas."""

import json

import pytest

pytest.importorskip("starlette")

from spectralkv.serve.command import main
from spectralkv.serve.prefixes import BLOCK, MOST, beginning, chain_of, forward

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
LONG = "be exact. " * 200


def chain(path, **body):
    return forward("POST", path, json.dumps(body).encode()).chain


def common(a, b):
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert set(a[n:]).isdisjoint(b[n:])
    return n


def test_chains_agree_as_far_as_texts_do():
    text = LONG + "x"
    assert len(chain_of(text)) == len(text) // BLOCK and chain_of("short") == ()
    other = text[: 3 * BLOCK] + "!" + text[3 * BLOCK + 1 :]
    assert common(chain_of(text), chain_of(other)) == 3
    assert len(chain_of("a" * (BLOCK * MOST * 2))) == MOST
    assert chain_of("\ud800" * BLOCK) != ()


def test_prompts_of_all_kinds():
    system = {"role": "system", "content": LONG}
    a = chain(CHAT, messages=[system, {"role": "user", "content": "one"}], seed=1)
    b = chain(CHAT, messages=[system, {"role": "user", "content": "two" * 200}], temperature=0)
    assert common(a, b) == len(LONG) // BLOCK
    parts = [{"type": "text", "text": LONG[:900]}, {"type": "text", "text": LONG[900:]}]
    assert chain(CHAT, messages=[{"role": "system", "content": parts}]) == chain(CHAT, messages=[system])
    tools = [{"type": "function", "function": {"name": "f", "description": LONG}}]
    assert common(chain(CHAT, messages=[system], tools=tools), a) == 0
    assert chain(TEXT, prompt=LONG) == chain(TEXT, prompt=[LONG, "other"]) == chain_of(LONG)
    ids = list(range(2000))
    assert common(chain(TEXT, prompt=ids), chain(TEXT, prompt=[*ids[:1000], 5, 6])) >= 10
    assert chain(TEXT, prompt=[ids]) == chain(TEXT, prompt=ids)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b'{"prompt": 5}', b'{"messages": [3, {"role": {}, "content": 7}]}', b"[" * 5000, b"\xff"],
)
def test_what_a_replica_will_refuse_has_no_chain(body):
    assert forward("POST", TEXT, body).chain == ()
    assert forward("POST", TEXT, body).body == body


def test_other_routes_have_none():
    body = json.dumps({"prompt": LONG}).encode()
    assert beginning("/tokenize", body) == "" and forward("GET", TEXT, body).prompt == TEXT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--replicas", "2"], "--replicas needs --ray"),
        (["--ray-options", "{}"], "--ray-options needs --ray"),
        (["--ray", "--replicas", "0"], "at least 1"),
        (["--ray", "--compare", "q8_0"], "--compare cannot be together"),
        (["--ray", "--cache-disk", "."], "--cache-disk cannot be together"),
    ],
)
def test_options_that_do_not_go_together(options, words, tiny_model, capsys):
    assert main(["-m", tiny_model, *options]) == 1
    assert words in capsys.readouterr().err
