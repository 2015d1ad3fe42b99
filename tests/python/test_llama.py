"""The contract of spectralkv.Llama on a tiny model: results, streams, stops, seeds, scores, errors."""

import math
import os
import shutil
import warnings

import numpy as np
import pytest

from spectralkv import Llama, _core

PROMPT = "hello the tin"


@pytest.fixture(scope="module")
def llama(tiny_model):
    with Llama(tiny_model, n_ctx=128, n_threads=2, verbose=False) as model:
        yield model


@pytest.fixture(scope="module")
def llama_all(tiny_model):
    with Llama(tiny_model, n_ctx=128, n_threads=2, logits_all=True, verbose=False) as model:
        yield model


def greedy(llama, prompt=PROMPT, **options):
    return llama(prompt, temperature=0, **options)


# ---- facts and tokens


def test_facts(llama):
    assert (llama.n_ctx(), llama.n_vocab(), llama.token_bos(), llama.token_eos()) == (128, 320, 0, 2)


def test_n_ctx_zero_is_the_models_own(tiny_model):
    assert Llama(tiny_model, n_ctx=0, verbose=False).n_ctx() == 256


def test_verbose_names_model_and_cache_types(tiny_model, capfd):
    Llama(tiny_model, n_ctx=64, type_k="f32", verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "llama" in err
    assert "K f32" in err
    assert "V eoptshrinkq:2" in err  # the default
    assert "K f32 32.00 bits per entry" in err
    assert "MiB for the whole context of 64 tokens" in err


def test_tokenize_and_back(llama):
    text = "hello the tin, Zürich 東京".encode()
    tokens = llama.tokenize(text)
    assert all(0 <= token < 320 for token in tokens)
    assert llama.detokenize(tokens) == text


def test_special_tokens_only_when_asked(llama):
    assert llama.tokenize(b"<|im_end|>", special=True) == [2]
    assert len(llama.tokenize(b"<|im_end|>", special=False)) > 1
    assert llama.detokenize([2]) == b""
    assert llama.detokenize([2], special=True) == b"<|im_end|>"


# ---- eval and scores


def test_eval_appends_and_reset_forgets(llama_all):
    llama_all.reset()
    tokens = llama_all.tokenize(PROMPT.encode())
    llama_all.eval(tokens[:2])
    llama_all.eval(tokens[2:])
    assert llama_all.n_tokens == len(tokens)
    assert llama_all.input_ids.tolist() == tokens
    assert llama_all.scores.shape == (len(tokens), 320)
    assert llama_all.scores.dtype == np.float32
    llama_all.reset()
    assert llama_all.n_tokens == 0
    assert llama_all.scores.shape == (0, 320)


def test_scores_do_not_depend_on_batches(tiny_model, llama_all):
    tokens = [(7 * i) % 300 + 3 for i in range(50)]
    llama_all.reset()
    llama_all.eval(tokens)
    one = Llama(tiny_model, n_ctx=128, n_batch=7, n_threads=1, logits_all=True, verbose=False)
    for i in range(0, 50, 13):
        one.eval(tokens[i : i + 13])
    np.testing.assert_array_equal(llama_all.scores, one.scores)


def test_scores_are_a_copy(llama_all):
    llama_all.reset()
    llama_all.eval([5, 6])
    first = llama_all.scores
    first[:] = 0
    assert np.any(llama_all.scores != 0)


def test_scores_need_logits_all(llama):
    with pytest.raises(ValueError, match="logits_all"):
        _ = llama.scores


def test_prefix_reuse_changes_nothing(tiny_model):
    fresh = Llama(tiny_model, n_ctx=128, verbose=False)
    used = Llama(tiny_model, n_ctx=128, verbose=False)
    greedy(used, "hello the tin and more", max_tokens=8)
    expected, result = greedy(fresh, max_tokens=12), greedy(used, max_tokens=12)
    assert result["choices"] == expected["choices"]
    again = greedy(used, max_tokens=12)
    assert again["choices"] == expected["choices"]


# ---- completions


def test_completion_dict(llama):
    result = greedy(llama, max_tokens=5, logit_bias={2: -math.inf, 0: -math.inf})
    assert set(result) == {"id", "object", "created", "model", "choices", "usage"}
    assert result["object"] == "text_completion"
    assert result["id"].startswith("cmpl-")
    assert isinstance(result["created"], int)
    assert result["model"] == llama.model_path
    (choice,) = result["choices"]
    assert set(choice) == {"text", "index", "logprobs", "finish_reason"}
    assert choice["index"] == 0
    assert choice["logprobs"] is None
    assert choice["finish_reason"] == "length"
    n_prompt = len(llama.tokenize(PROMPT.encode()))
    assert result["usage"] == {"prompt_tokens": n_prompt, "completion_tokens": 5, "total_tokens": n_prompt + 5}


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 1.5, "seed": 3}, {"seed": 4, "logprobs": 2}])
def test_stream_equals_whole(llama, options):
    whole = llama(PROMPT, max_tokens=40, **options)["choices"][0]
    chunks = list(llama(PROMPT, max_tokens=40, stream=True, **options))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    assert [choice["finish_reason"] for choice in choices][:-1] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == whole["finish_reason"]
    assert choices[-1]["text"] == "" and choices[-1]["logprobs"] is None
    assert len({chunk["id"] for chunk in chunks}) == 1
    if whole["logprobs"] is not None:
        for key, values in whole["logprobs"].items():
            assert sum((choice["logprobs"][key] for choice in choices[:-1]), []) == values


def test_seed_repeats(llama):
    texts = [llama(PROMPT, max_tokens=20, temperature=2.0, seed=seed)["choices"][0]["text"] for seed in (1, 2, 1)]
    assert texts[0] == texts[2]
    assert texts[0] != texts[1]


def test_constructor_seed_repeats_a_run_of_calls(tiny_model):
    def run():
        llama = Llama(tiny_model, n_ctx=128, seed=9, verbose=False)
        return [llama(PROMPT, max_tokens=20, temperature=2.0)["choices"][0]["text"] for _ in range(2)]

    first, second = run(), run()
    assert first == second
    assert first[0] != first[1]


def test_end_token_stops(llama):
    result = greedy(llama, max_tokens=20, logit_bias={2: 1000.0})
    assert result["choices"][0]["finish_reason"] == "stop"
    assert result["choices"][0]["text"] == ""
    assert result["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_stop_text_ends_and_is_not_given_out(llama, as_list, stream):
    bias = {100: 500.0}  # the letter a again and again
    text = greedy(llama, max_tokens=12, logit_bias=bias)["choices"][0]["text"]
    assert text == "a" * 12
    stop = "aaa"
    result = greedy(
        llama, max_tokens=12, logit_bias=bias, stop=[stop, "zzz"] if as_list else stop, stream=stream, logprobs=0
    )
    choices = [c["choices"][0] for c in result] if stream else [result["choices"][0]]
    assert "".join(c["text"] for c in choices) == ""
    assert choices[-1]["finish_reason"] == "stop"
    assert sum((c["logprobs"]["tokens"] for c in choices[:-1]), []) == []


def test_echo(llama, llama_all):
    result = greedy(llama, max_tokens=4, echo=True)["choices"][0]["text"]
    assert result == PROMPT + greedy(llama, max_tokens=4)["choices"][0]["text"]
    with pytest.raises(ValueError, match="logits_all"):
        greedy(llama, echo=True, logprobs=1)
    logprobs = greedy(llama_all, max_tokens=4, echo=True, logprobs=1)["choices"][0]["logprobs"]
    tokens = llama_all.tokenize(PROMPT.encode())
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    assert len(logprobs["tokens"]) == len(tokens) + 4
    scores = llama_all.scores[0].astype(np.float64)
    expected = scores[tokens[1]] - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
    assert logprobs["token_logprobs"][1] == pytest.approx(expected, abs=1e-5)


def test_logprobs(llama):
    logprobs = greedy(llama, max_tokens=6, logprobs=3, logit_bias={2: -math.inf})["choices"][0]["logprobs"]
    assert {len(values) for values in logprobs.values()} == {6}
    assert all(value <= 0 for value in logprobs["token_logprobs"])
    for text, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        assert top[text] == value
        assert len(top) <= 4
    assert logprobs["text_offset"] == sorted(logprobs["text_offset"])
    assert logprobs["text_offset"][0] == len(PROMPT)  # as OpenAI and llama-cpp-python count, echo or not


def test_token_prompt_equals_text(llama):
    assert greedy(llama, llama.tokenize(PROMPT.encode()))["choices"] == greedy(llama)["choices"]


def test_empty_prompt_starts_from_bos(llama):
    assert greedy(llama, "", max_tokens=2)["usage"]["prompt_tokens"] == 1


def test_context_full(tiny_model):
    llama = Llama(tiny_model, n_ctx=16, verbose=False)
    bias = {2: -math.inf, 0: -math.inf}
    with pytest.warns(UserWarning, match="context is full"):
        result = greedy(llama, max_tokens=None, logit_bias=bias)
    assert result["choices"][0]["finish_reason"] == "length"
    assert result["usage"]["total_tokens"] == 17  # the token after the last place is sampled but not read
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        greedy(llama, max_tokens=2, logit_bias=bias)


# ---- generate


def test_generate_equals_completion(llama):
    tokens = llama.tokenize(PROMPT.encode())
    steps = llama.generate(tokens, temp=0, logit_bias={2: -math.inf, 0: -math.inf})
    ids = [next(steps) for _ in range(8)]
    text = greedy(llama, max_tokens=8, logit_bias={2: -math.inf, 0: -math.inf})["choices"][0]["text"]
    assert llama.detokenize(ids).decode(errors="replace") == text


def test_generate_without_reset_goes_on(llama):
    tokens = llama.tokenize(PROMPT.encode())
    expected = next(llama.generate(tokens, temp=0))
    llama.reset()
    llama.eval(tokens[:2])
    assert next(llama.generate(tokens[2:], temp=0, reset=False)) == expected
    assert next(llama.generate([], temp=0, reset=False)) == expected


def test_generate_runs_to_the_end_of_the_context(tiny_model):
    llama = Llama(tiny_model, n_ctx=16, verbose=False)
    assert len(list(llama.generate([5, 6, 7]))) == 14


# ---- errors


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no-such-file\.gguf"):
        Llama("no-such-file.gguf", verbose=False)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(ValueError, match="GGUF"):
        Llama(path, verbose=False)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"top_p": math.nan}, "top_p"),
        ({"temperature": math.nan}, "temperature"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
        ({"logit_bias": {320: 1.0}}, "320"),
        ({"logprobs": 321}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"seed": -2}, "seed"),
        ({"top_k": 2**40}, "top_k"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_options_out_of_range(llama, options, name):
    with pytest.raises(ValueError, match=name):
        llama(PROMPT, **options)
    assert greedy(llama)["choices"][0]["finish_reason"]  # and the model still works


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": "all"}, "max_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": [b"x"]}, "stop"),
        ({"logprobs": "many"}, "logprobs"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {1: "a"}}, "logit_bias"),
        ({"prompt": b"bytes"}, "prompt"),
        ({"prompt": [1, "a"]}, r"prompt\[1\]"),
        ({"prompt": 5}, "prompt"),
    ],
)
def test_arguments_of_the_wrong_type_are_named(llama, options, name):
    with pytest.raises(TypeError, match=name) as error:
        llama(**{"prompt": PROMPT} | options)
    assert len(str(error.value)) < 100


@pytest.mark.parametrize("name", ["n_ctx", "n_batch", "n_threads", "n_gpu_layers", "type_k", "type_v", "activations"])
def test_constructor_arguments_of_the_wrong_type_are_named(tiny_model, name):
    with pytest.raises(TypeError, match=rf"\] {name} must be"):
        Llama(tiny_model, verbose=False, **{name: [1.5]})
    with pytest.raises(TypeError, match="PathLike"):
        Llama(5, verbose=False)


def test_tokens_and_text_of_the_wrong_type(llama):
    for call in (lambda: llama.tokenize("text"), lambda: llama.eval("text"), lambda: llama.detokenize(["a"])):
        with pytest.raises(TypeError, match=r"\[python\]"):
            call()


def test_top_logprobs_out_of_range(llama):
    for n in (-1, 321):
        with pytest.raises(ValueError, match="top_logprobs"):
            llama.create_chat_completion([{"role": "user", "content": "x"}], logprobs=True, top_logprobs=n)


def test_paths_of_every_kind(make_tiny, tmp_path):
    path = make_tiny()
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf")
    shutil.copy(path, odd)
    for given in (odd, os.fsencode(odd), tmp_path / odd):
        with Llama(given, verbose=False) as llama:
            assert llama.model_path == odd
    llama = Llama(path, n_ctx=32, verbose=False)
    llama.eval([5])
    llama.save_state(odd + ".state")
    llama.load_state(os.fsencode(odd + ".state"))
    with pytest.raises(FileNotFoundError, match="\udcff"):
        Llama("\udcff", verbose=False)


def test_an_unknown_pre_tokenizer_is_refused_and_can_be_allowed(make_tiny):
    path = make_tiny(extra={"tokenizer.ggml.pre": "unheard-of"})
    with pytest.raises(ValueError, match="--allow-unknown-pre"):
        Llama(path, verbose=False)
    assert Llama(path, verbose=False, allow_unknown_pre=True).n_vocab() == 320


def test_a_missing_pre_tokenizer_is_warned_about(make_tiny):
    path = make_tiny(pre=None)
    with pytest.warns(UserWarning, match="'tokenizer.ggml.pre' is missing.*'default'") as warned:
        Llama(path, verbose=False)
    assert warned[0].filename == __file__


def test_seed_minus_one_is_another_each_time(tiny_model):
    def run(**options):
        llama = Llama(tiny_model, verbose=False, n_ctx=64, seed=options.pop("own", None))
        return llama(PROMPT, max_tokens=20, temperature=2.0, **options)["choices"][0]["text"]

    assert run(own=3, seed=-1) != run(own=3, seed=-1)
    assert run(own=-1) != run(own=-1)


@pytest.mark.parametrize("prompt", ["hello<|im_end|> the <|im_start|>tin\u00e9", "<|endoftext|>hello", "caf\udce9 the"])
@pytest.mark.parametrize("as_ids", [False, True])
def test_offsets_of_an_echo_are_places_in_its_text(llama_all, prompt, as_ids):
    ids = llama_all.tokenize(prompt.encode("utf-8", "surrogateescape"), special=True)
    options = {"max_tokens": 6, "logprobs": 1, "echo": True, "temperature": 0, "logit_bias": {2: -math.inf}}
    whole = llama_all(ids if as_ids else prompt, **options)["choices"][0]
    logprobs = whole["logprobs"]
    assert len(logprobs["tokens"]) == len(ids) + 6
    if not as_ids:
        assert whole["text"].startswith(prompt)
    ends = [*logprobs["text_offset"][1:], len(whole["text"])]
    for token, start, end in zip(logprobs["tokens"], logprobs["text_offset"], ends, strict=True):
        shown = whole["text"][start:end]
        if "\ufffd" not in token + shown and "\udce9" not in shown:  # a token's text alone cannot tell cut characters
            assert shown == token
    n_prompt = llama_all.detokenize(ids).decode(errors="replace") if as_ids else prompt
    assert logprobs["text_offset"][len(ids)] == len(n_prompt)
    chunks = [c["choices"][0] for c in llama_all(ids if as_ids else prompt, stream=True, **options)]
    assert len(chunks[0]["logprobs"]["tokens"]) == len(ids)
    for key, values in logprobs.items():
        assert sum((c["logprobs"][key] for c in chunks[:-1]), []) == values


@pytest.mark.parametrize("stream", [False, True])
def test_the_warning_of_a_full_context_points_to_the_caller(tiny_model, stream):
    llama = Llama(tiny_model, n_ctx=16, verbose=False)
    with pytest.warns(UserWarning, match="context is full") as warned:
        list(greedy(llama, max_tokens=None, logit_bias={2: -math.inf, 0: -math.inf}, stream=stream))
    assert warned[0].filename == __file__


@pytest.mark.parametrize("options", [{"type_k": "q9_9"}, {"n_ctx": -1}, {"n_batch": 0}])
def test_constructor_arguments_out_of_range(tiny_model, options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        Llama(tiny_model, verbose=False, **options)


def test_too_long_prompt_changes_nothing(llama):
    llama.reset()
    llama.eval([5, 6])
    for call in (lambda: llama([7] * 129), lambda: llama.eval([7] * 127), lambda: llama.eval([320])):
        with pytest.raises(ValueError, match=r"\d"):
            call()
    assert llama.input_ids.tolist() == [5, 6]


def test_closed(tiny_model):
    with Llama(tiny_model, verbose=False) as llama:
        stream = llama(PROMPT, stream=True)
    for call in (lambda: llama(PROMPT), lambda: llama.eval([1]), lambda: next(stream)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_core_scores_without_logits_all(tiny_model):
    session = _core.Session(_core.Engine(tiny_model), n_ctx=32)
    assert session.logits().shape == (0,)
    with pytest.raises(ValueError, match="logits_all"):
        session.all_logits()


def test_a_session_becomes_another(tiny_model):
    engine = _core.Engine(tiny_model)
    types = {"type_k": "q8_0,block=16", "type_v": "turboquant:2,block=16"}
    first, second, other = (_core.Session(engine, n_ctx=n, **types) for n in (64, 128, 20))
    first.eval([5, 6, 7] * 10)
    second.eval([9])
    second.copy_from(first)
    assert second.tokens == first.tokens
    for session in (first, second):
        session.eval([8])
    assert np.array_equal(first.logits(), second.logits())
    other.eval([9])
    with pytest.raises(ValueError, match="do not fit into a context of 20"):
        other.copy_from(first)
    with pytest.raises(ValueError, match="different models"):
        other.copy_from(_core.Session(_core.Engine(tiny_model)))
    assert other.tokens == [9]


@pytest.mark.parametrize("cache", ["default", "f16", "turboquant:3,block=16;layers 1=q8_0"])
def test_a_saved_state_goes_on_with_identical_logits(make_tiny, tmp_path, cache):
    path = make_tiny(context_length=512)
    options = {"n_ctx": 300, "type_k": cache, "type_v": cache, "verbose": False}
    ids = [(7 * i) % 50 + 3 for i in range(200)]
    with Llama(path, **options) as first, Llama(path, **options) as second:
        first.eval(ids)
        first.save_state(tmp_path / "state")
        first.eval([5, 6])
        second.load_state(tmp_path / "state")
        assert second.input_ids.tolist() == ids
        second.eval([5, 6])
        assert np.array_equal(first._session.logits(), second._session.logits())
        damaged = bytearray((tmp_path / "state").read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            second.load_state(tmp_path / "damaged")
        assert second.n_tokens == 202
        with pytest.raises(FileNotFoundError):
            second.load_state(tmp_path / "missing")
