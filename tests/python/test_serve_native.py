"""llama-server's own routes, as its scripts, editors and pages use them."""

import inspect
import json

import pytest
from support.tiny_model import write_tiny_model

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from support.serving import serving  # noqa: E402

from spectralkv import Llama, _core  # noqa: E402
from spectralkv.infill import METADATA_KEYS  # noqa: E402
from spectralkv.serve import sampling  # noqa: E402
from spectralkv.serve.native_answers import bytes_of  # noqa: E402

PROMPT = {"prompt": "hello there", "n_predict": 24, "temperature": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = write_tiny_model(tmp_path_factory.mktemp("native") / "tiny.gguf", context_length=4096)
    with serving(str(path), n_parallel=4) as running:
        yield running


def post(server, path="/completion", **body):
    answer = httpx.post(server.url + path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(server, path="/completion", **body):
    answer = httpx.post(server.url + path, json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["message"]


def chunks(server, path="/completion", **body):
    with httpx.stream("POST", server.url + path, json={**body, "stream": True}, timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_an_answer_has_llama_servers_fields(server):
    whole = post(server, **PROMPT, return_tokens=True)
    assert set(whole) == {
        *("index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated"),
        *("generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word"),
        *("tokens_cached", "timings"),
    }
    assert whole["stop"] is True and whole["stop_type"] in ("limit", "eos") and whole["index"] == 0
    assert whole["prompt"].endswith("hello there") and whole["model"] == "tiny.gguf"
    assert whole["tokens_cached"] == whole["tokens_evaluated"] + whole["tokens_predicted"] - 1
    assert post(server, "/detokenize", tokens=whole["tokens"])["content"] == whole["content"]
    assert post(server, "/completions", **PROMPT)["content"] == whole["content"]
    openai = post(server, "/v1/completions", prompt="hello there", max_tokens=24, temperature=0)
    assert openai["choices"][0]["text"] == whole["content"]
    assert post(server, **PROMPT)["tokens"] == []


def test_a_stream_is_the_answer_in_parts(server):
    whole = post(server, **PROMPT, return_tokens=True)
    *parts, last = chunks(server, **PROMPT, timings_per_token=True)
    assert "".join(part["content"] for part in parts) == whole["content"]
    assert [token for part in parts for token in part["tokens"]] == whole["tokens"]
    assert all(part["stop"] is False and part["timings"]["predicted_n"] > 0 for part in parts)
    assert last["stop"] is True and last["content"] == "" and last["stop_type"] == whole["stop_type"]
    assert "timings" not in chunks(server, **PROMPT)[0]


def test_prompts_of_all_forms(server):
    ids = post(server, "/tokenize", content="hello there", add_special=True)["tokens"]
    plain = post(server, **PROMPT)["content"]
    forms = [
        ids,
        {"prompt_string": "hello there"},
        [*ids[:-1], post(server, "/detokenize", tokens=ids[-1:])["content"]],
    ]
    for form in forms:
        assert post(server, **PROMPT | {"prompt": form})["content"] == plain
    several = post(server, **PROMPT | {"prompt": ["hello there", ids, "in the"]}, n_cmpl=2)
    assert [row["index"] for row in several] == list(range(6))
    assert [row["content"] for row in several[:4]] == [plain] * 4 != [several[4]["content"]] * 4
    assert [row["content"] for row in post(server, **PROMPT | {"prompt": ["hello there"] * 2})] == [plain] * 2


def test_how_it_ended(server):
    options = {**PROMPT, "ignore_eos": True, "return_tokens": True}
    plain = post(server, **options)
    assert plain["stop_type"] == "limit" and plain["tokens_predicted"] == 24 and not plain["truncated"]
    stop = plain["content"][5:7]
    cut = post(server, **options, stop=["", "never said", stop])
    assert cut["stop_type"] == "word" and cut["stopping_word"] == stop
    assert cut["content"] == plain["content"][: plain["content"].index(stop)]
    assert cut["tokens"] == plain["tokens"][: len(cut["tokens"])] and len(cut["tokens"]) < 24
    assert post(server, **options | {"n_predict": 0})["content"] == ""
    assert post(server, **options | {"n_predict": -1}, timeout=0.3)["stop_type"] == "limit"
    full = post(server, **options | {"prompt": [5] * 4090, "n_predict": -1})
    assert full["truncated"] and full["stop_type"] == "limit"
    ended = post(server, **PROMPT, logit_bias=[[str(i), False] for i in range(320) if i != eos(server)])
    assert ended["stop_type"] == "eos" and ended["content"] == ""


@pytest.mark.parametrize(
    "raw", [b"a\xc3\xa9 b", b"\xe2\x82 stop", b"\xff\xfe\xe2\x82\xacx\xf0\x9f\x98", "\ufffd\U0001f600".encode(), b""]
)
def test_bytes_behind_a_text(raw):
    """Of each beginning of the text: those that, read again, give no more than it."""
    text = raw.decode("utf-8", "replace")
    places = [bytes_of(raw, text[:n]) for n in range(len(text) + 1)]
    assert places[0] == 0 and places[-1] == len(raw) and places == sorted(places)
    for n, place in enumerate(places):
        assert raw[:place].decode("utf-8", "replace") == text[:n]
        assert raw[place:].decode("utf-8", "replace") == text[n:]


def test_what_infill_keeps_of_the_models_file(server):
    assert set(server.service.metadata()) <= METADATA_KEYS


def eos(server):
    return server.service.tokenizer.eos


def test_probabilities(server):
    whole = post(server, **PROMPT, n_probs=3, return_tokens=True)
    rows = whole["completion_probabilities"]
    assert [row["id"] for row in rows] == whole["tokens"]
    for row in rows:
        assert row["logprob"] == max(top["logprob"] for top in row["top_logprobs"]) and len(row["top_logprobs"]) == 3
        assert row["bytes"] == row["top_logprobs"][0]["bytes"] and row["token"] == row["top_logprobs"][0]["token"]
    *parts, last = chunks(server, **PROMPT, n_probs=3)
    assert [row for part in parts for row in part["completion_probabilities"]] == rows
    assert "completion_probabilities" not in last
    assert (
        len(post(server, **PROMPT | {"n_predict": 1}, n_probs=1000)["completion_probabilities"][0]["top_logprobs"])
        == 320
    )


def test_settings_are_those_that_were_asked_for(server):
    asked = {"temperature": 1.5, "top_k": 7, "typical_p": 0.9, "mirostat": 2, "mirostat_tau": 3.5, "seed": 11}
    asked |= {"dry_multiplier": 0.5, "dry_sequence_breakers": ["\n"], "samplers": ["top_k", "temperature"]}
    told = post(server, prompt="a", n_predict=2, **asked, logit_bias=[[70, 1.5], ["a", False]])["generation_settings"]
    assert {name: told[name] for name in asked} == asked
    assert told["logit_bias"][0] == {"token": 70, "bias": 1.5} and told["logit_bias"][1]["bias"] is False
    assert told["n_predict"] == 2 and told["n_ctx"] == 4096
    again = post(server, prompt="a", n_predict=2, samplers="kt", seed=2**32 - 1)["generation_settings"]
    assert again["samplers"] == ["top_k", "temperature"] and again["seed"] != 2**32 - 1
    infill = ["top_k", "infill"]  # as editors have it
    assert post(server, prompt="a", n_predict=2, samplers=infill)["generation_settings"]["samplers"] == ["top_k"]
    seeded = [post(server, prompt="a", n_predict=9, seed=5, temperature=2)["content"] for _ in range(2)]
    assert seeded[0] == seeded[1] != post(server, prompt="a", n_predict=9, seed=6, temperature=2)["content"]


def test_samplers_of_llama_cpp_reach_openais_routes_too(server):
    body = {"prompt": "hello", "max_tokens": 24, "temperature": 0, "ignore_eos": True}

    def text(**more):
        return post(server, "/v1/completions", **body, **more)["choices"][0]["text"]

    assert text(dry_multiplier=20.0, dry_allowed_length=0, dry_sequence_breakers=["x"]) != text()
    assert text(samplers=["temperature"], repeat_penalty=5.0) == text(samplers=["temperature"])
    assert "nothing" in refusal(server, "/v1/completions", **body, samplers=["nothing"])


def test_limits_of_openais_routes(server):
    """Pages send -1, or llama-server's name."""
    body = {"prompt": "hello", "temperature": 0, "ignore_eos": True}

    def n(path="/v1/completions", **more):
        return post(server, path, **body, **more)["usage"]["completion_tokens"]

    assert n() == 16 and n(n_predict=5) == 5 and n(n_predict=5, max_tokens=3) == 3
    full = 4096 - post(server, "/v1/completions", **body)["usage"]["prompt_tokens"]
    assert n(max_tokens=-1, timeout=60) >= full and n(max_tokens=3, suffix="") == 3
    chat = {"messages": [{"role": "user", "content": "a"}], "temperature": 0, "ignore_eos": True}

    def of_chat(**more):
        return post(server, "/v1/chat/completions", **chat, **more)["usage"]["completion_tokens"]

    assert of_chat(n_predict=5) == 5 and of_chat(max_tokens=4, n_predict=5) == 4
    assert of_chat(max_tokens=-1, max_completion_tokens=3) == 3 and of_chat(max_tokens=-1, timeout=0.5) > 5
    assert "max_tokens" in refusal(server, "/v1/chat/completions", **chat, max_tokens=0)


def test_the_defaults_are_the_cores():
    given = {
        name: parameter.default for name, parameter in inspect.signature(Llama.create_completion).parameters.items()
    }
    assert sampling.DEFAULTS["temperature"] == given["temperature"] and sampling.DEFAULTS["top_k"] == given["top_k"]
    told = _core.SamplingOptions.__init__.__doc__ + str(getattr(_core.SamplingOptions.__init__, "__nb_signature__", ""))
    for name, value in sampling.DEFAULTS.items():
        assert f"{name}: " in told
        if isinstance(value, (int, float)):
            assert f" = {value}" in told.split(f"{name}: ")[1].split(",")[0], name
    assert sampling.DEFAULTS["samplers"] == list(sampling.LETTERS.values())
    _core.SamplingOptions(**sampling.DEFAULTS)


def test_constrained_output(server):
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    options = {"prompt": "x", "n_predict": 200, "temperature": 1, "seed": 3}
    assert json.loads(post(server, **options, json_schema=schema)["content"])["a"] in (1, 2)
    assert post(server, **options, grammar='root ::= "ab" | "ba"')["content"] in ("ab", "ba")
    assert post(server, **PROMPT, grammar="")["content"] == post(server, **PROMPT)["content"]
    assert "grammar" in refusal(server, **options, grammar="root ::= (")
    assert "schema" in refusal(server, **options, json_schema={"type": "nothing"})


def test_fields_that_are_asked_for(server):
    fields = ["content", "generation_settings/n_predict", "timings/prompt_n", "nothing", "content/x"]
    assert set(post(server, **PROMPT, response_fields=fields)) == {"content", "n_predict", "prompt_n"}


def test_the_time_of_an_answer(server):
    grammar = 'root ::= "\\n" [a-z]+'
    body = {"prompt": "x", "n_predict": -1, "grammar": grammar, "temperature": 2, "ignore_eos": True}
    answer = post(server, **body, t_max_predict_ms=50)
    assert answer["stop_type"] == "limit" and answer["has_new_line"] and not answer["truncated"]
    assert server.idle()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [10**6]}, "no token"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": ["a"] * 60, "n_cmpl": 2}, "at most 64"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}, "multimodal_data"),
        ({"prompt": "a", "n_predict": -3}, "n_predict"),
        ({"prompt": "a", "logit_bias": [[9999, 1]]}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"99999999999999": 1}, "n_predict": 1, "lora": [{"id": 0}]}, "lora"),
        ({"prompt": "a", "logit_bias": [["x" * 100, 1]] * 50}, "logit_bias"),
        ({"prompt": "a", "samplers": ["none"]}, "none"),
        ({"prompt": "a", "samplers": "?"}, "samplers"),
        ({"prompt": "a", "post_sampling_probs": True}, "post_sampling_probs"),
        ({"prompt": "a", "mirostat": 3}, "mirostat"),
        ({"prompt": "a", "dry_sequence_breakers": [""]}, "dry_sequence_breakers"),
        ({"prompt": "a", "repeat_penalty": 0}, "repeat_penalty"),
    ],
)
def test_bad_bodies_are_refused(server, body, words):
    assert words in refusal(server, **body)


def test_infill(tmp_path):
    names = {"fim_pre_token_id": 300, "fim_suf_token_id": 301, "fim_mid_token_id": 302}
    path = write_tiny_model(tmp_path / "tiny.gguf", context_length=512)
    with serving(str(path)) as running:
        assert "infill" in refusal(running, "/infill", input_prefix="a", input_suffix="b")
        running.service._metadata = {f"tokenizer.ggml.{name}": value for name, value in names.items()}
        encode = running.service.tokenizer.encode
        begin = [running.service.tokenizer.bos] if running.service.tokenizer.add_bos else []

        def prompt(**body):
            told = post(running, "/infill", n_predict=4, temperature=0, **body)
            return told["prompt"], told["tokens_evaluated"]

        def expected(*parts):
            ids = [
                t for part in parts for t in (part if isinstance(part, list) else encode(part.encode(), False, False))
            ]
            return running.service.tokenizer.decode(ids, True).decode("utf-8", "replace"), len(ids)

        body = {"input_prefix": "def f(", "input_suffix": ")\n"}
        assert prompt(**body) == expected(begin, [300], "def f(", [301], ")\n", [302])
        assert prompt(**body, prompt="a, ") == expected(begin, [300], "def f(", "a, ", [301], ")\n", [302])
        extra = [{"filename": "one.py", "text": "x = 1\n"}, {"text": "y"}]
        mark = "\n\n--- snippet ---\n\n"
        told = expected(mark, "x = 1\n", mark, "y", begin, [300], "def f(", [301], ")\n", [302])
        assert prompt(**body, input_extra=extra) == told
        running.service._metadata |= {"tokenizer.ggml.fim_rep_token_id": 303, "tokenizer.ggml.fim_sep_token_id": 304}
        told = [[303], "myproject\n", [304], "one.py\n", "x = 1\n", [304], "tmp\n", "y", [304], "filename\n"]
        assert prompt(**body, input_extra=extra) == expected(*told, begin, [300], "def f(", [301], ")\n", [302])
        long = prompt(input_prefix="p" * 2000, input_suffix="s" * 2000, input_extra=[{"text": "q" * 2000}])
        assert long[1] <= 512 - 4 and "q" not in long[0] and long[0].count("p") > long[0].count("s") > 100
        assert len(chunks(running, "/infill", **body, n_predict=3)) >= 1


def test_props_and_other_names(server):
    told = httpx.get(server.url + "/props").json()
    assert told["total_slots"] == 4 and told["model_path"] == "tiny.gguf" and told["chat_template"]
    assert told["default_generation_settings"]["n_ctx"] == 4096
    assert told["default_generation_settings"]["params"]["temperature"] == 0.8
    assert httpx.post(server.url + "/props", json={}).status_code == 501
    assert httpx.get(server.url + "/v1/health").json() == {"status": "ok"}
    assert httpx.get(server.url + "/models").json() == httpx.get(server.url + "/v1/models").json()
    chat = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
    assert post(server, "/chat/completions", **chat)["choices"][0]["message"]["role"] == "assistant"


def test_pieces_of_tokens(server):
    pieces = post(server, "/tokenize", content="hello ż", with_pieces=True)["tokens"]
    ids = post(server, "/tokenize", content="hello ż")["tokens"]
    assert [row["id"] for row in pieces] == ids
    data = [row["piece"].encode() if isinstance(row["piece"], str) else bytes(row["piece"]) for row in pieces]
    assert b"".join(data) == "hello ż".encode() and any(isinstance(row["piece"], list) for row in pieces)
    assert post(server, "/tokenize", content=[5, "hello", 6])["tokens"] == [
        5,
        *post(server, "/tokenize", content="hello")["tokens"],
        6,
    ]
    assert "no token" in refusal(server, "/tokenize", content=[10**6], with_pieces=True)


def test_answers_that_would_take_too_much(server):
    assert "n_probs times the tokens" in refusal(server, prompt="a", n_probs=1000, n_cmpl=16)
    assert "dry_sequence_breakers" in refusal(server, prompt="a", dry_sequence_breakers=["a", "b"] * 8, n_cmpl=16)
    assert "1000 prompts" in refusal(server, prompt=["a"] * 1000)
    ids = refusal(server, prompt=[-1] * 100000)
    assert "prompt" in ids and len(ids) < 300


def test_probabilities_are_told_once_in_a_stream(server):
    told = [chunk["completion_probabilities"] for chunk in chunks(server, **PROMPT, n_probs=2) if not chunk["stop"]]
    whole = post(server, **PROMPT, n_probs=2)["completion_probabilities"]
    assert [row["id"] for rows in told for row in rows] == [row["id"] for row in whole]
