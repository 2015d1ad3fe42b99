"""Embeddings over HTTP: those of the class Llama, in OpenAI's form and in llama-server's."""

import base64

import numpy as np
import pytest

pytest.importorskip("starlette")
openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx")

from support.serving import serving  # noqa: E402
from support.tiny_model import write_tiny_model  # noqa: E402

from spectralkv import Llama  # noqa: E402
from spectralkv.serve.embedder import PIECE, scaled  # noqa: E402

TEXTS = ["hello there", "in the " * 100]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("embeddings") / "tiny.gguf", context_length=1024))


@pytest.fixture(scope="module")
def server(model):
    with serving(model, pooling="mean") as running:
        yield running


def ask(server, path, status=200, **body):
    answer = httpx.post(server.url + path, json=body, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_they_are_those_of_the_class_llama(server, model):
    with Llama(model, n_ctx=1024, embedding=True, pooling_type=1, type_k=1, type_v=1, verbose=False) as llama:
        ours = np.array(llama.embed(TEXTS, normalize=True))
        n = len(llama.tokenize(TEXTS[1].encode()))
    assert n > 2 * PIECE
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        made = client.embeddings.create(model="x", input=TEXTS)  # the client asks for base64
        plain = client.embeddings.create(model="x", input=TEXTS[1], encoding_format="float")
    for row, wanted in zip(made.data, ours, strict=True):
        assert np.linalg.norm(np.array(row.embedding) - wanted) < 1e-3
    assert plain.data[0].embedding == pytest.approx(made.data[1].embedding)
    assert made.usage.prompt_tokens > n and made.data[1].index == 1
    own = ask(server, "/embedding", content=TEXTS[1])
    assert own == ask(server, "/embeddings", input=[TEXTS[1]])
    assert own[0]["index"] == 0 and own[0]["embedding"] == [plain.data[0].embedding]


def test_norms(server):
    rows = {
        norm: ask(server, "/embedding", content="hello", embd_normalize=norm)[0]["embedding"][0]
        for norm in range(-1, 4)
    }
    raw = np.array(rows[-1])
    for norm in (1, 2, 3):
        assert np.allclose(rows[norm], raw / np.linalg.norm(raw, norm), rtol=1e-5)
    assert np.abs(rows[0]).max() == pytest.approx(32760)
    zeros = np.zeros((2, 3), np.float32)
    assert all((scaled(zeros, norm) == 0).all() for norm in (-1, 0, 1, 2, 100))
    assert np.isfinite(scaled(np.full(4, 1e30, np.float32), 100)).all()


def test_one_for_each_token(model):
    with serving(model, pooling="none") as running:
        n = len(ask(running, "/tokenize", content="hello there", add_special=True)["tokens"])
        rows = ask(running, "/embedding", content="hello there", embd_normalize=-1)[0]["embedding"]
        assert len(rows) == n and len(rows[0]) == running.service.engine.config["n_embd"]
        assert "pooling" in ask(running, "/v1/embeddings", 400, input="a")["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [10**6]}, "no token"),
        ({"input": "x" * 2000}, "a request holds"),
        ({"input": "a", "dimensions": 5}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "embd_normalize": -2}, "embd_normalize"),
    ],
)
def test_bad_bodies_are_refused(server, body, words):
    assert words in ask(server, "/v1/embeddings", 400, **body)["error"]["message"]
    assert "content" in ask(server, "/embedding", 400)["error"]["message"]


def test_without_the_option_there_are_none(model):
    with serving(model) as running:
        for path in ("/v1/embeddings", "/embedding"):
            assert "--embeddings" in ask(running, path, 404, input="a")["error"]["message"]


def test_beside_requests_and_with_a_deadline(server, model):
    from concurrent.futures import ThreadPoolExecutor

    alone = ask(server, "/embedding", content=TEXTS[1])
    body = {"prompt": "hello", "max_tokens": 40, "temperature": 0}
    text = ask(server, "/v1/completions", **body)["choices"][0]["text"]
    with ThreadPoolExecutor(8) as threads:
        embedded = [threads.submit(ask, server, "/embedding", content=TEXTS[1]) for _ in range(6)]
        answered = [threads.submit(ask, server, "/v1/completions", **body) for _ in range(6)]
        assert all(each.result() == alone for each in embedded)
        assert all(each.result()["choices"][0]["text"] == text for each in answered)
    with serving(model, pooling="last", timeout=1e-9) as hurried:
        assert ask(hurried, "/embedding", 408, content="a")["error"]["code"] == "timeout"
    row = ask(server, "/v1/embeddings", input=[1, 2, 3], encoding_format="base64")["data"][0]["embedding"]
    assert len(base64.b64decode(row)) == 4 * server.service.engine.config["n_embd"]
