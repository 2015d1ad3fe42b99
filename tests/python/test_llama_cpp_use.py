"""Llama as programs for llama-cpp-python use it: processors, states, caches, embeddings, infill."""

import json
import math
import pickle
import subprocess
import textwrap

import numpy as np
import pytest

from spectralkv import (
    Llama,
    LlamaDiskCache,
    LlamaRAMCache,
    LlamaState,
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    StoppingCriteriaList,
    _core,
)

PROMPT = "hello the tin"
NO_END = {2: -math.inf, 0: -math.inf}


@pytest.fixture(scope="module")
def llama(tiny_model):
    with Llama(tiny_model, n_ctx=128, n_threads=2, verbose=False) as model:
        yield model


def text_of(result):
    return result["choices"][0]["text"]


# ---- arguments


def test_cache_types_by_number(tiny_model):
    for number, name in {0: "f32", 1: "f16", 2: "q4_0", 8: "q8_0", None: "eoptshrinkq:2"}.items():
        llama = Llama(tiny_model, n_ctx=64, type_k=number, verbose=False)
        assert llama.cache_report()["k"]["codec"].startswith(name)
    with pytest.raises(ValueError, match=r"type_v.*type 30.*8 \(q8_0\)"):
        Llama(tiny_model, type_v=30, verbose=False)
    with pytest.raises(TypeError, match="type_k"):
        Llama(tiny_model, type_k=1.0, verbose=False)


def test_positional_arguments(llama):
    named = llama(PROMPT, max_tokens=6, temperature=0.5, top_p=0.9, min_p=0.01, seed=3)
    assert text_of(llama(PROMPT, None, 6, 0.5, 0.9, 0.01, seed=3)) == text_of(named)
    tokens = llama.tokenize(PROMPT.encode())
    first = next(llama.generate(tokens, 1, 0.9, 0.01, 1.0, 0.5))
    assert first == next(llama.generate(tokens, temp=0))


def test_facts(llama, tiny_model):
    assert llama.n_embd() == 64
    assert llama.token_nl() == llama.tokenize(b"\n", add_bos=False)[0]
    assert llama.metadata["general.architecture"] == "llama"
    assert llama.metadata["llama.rope.freq_base"] == "10000.000000"
    assert "tokenizer.ggml.tokens" not in llama.metadata
    tokenizer = llama.tokenizer()
    assert tokenizer.decode(tokenizer.encode(PROMPT)) == PROMPT
    assert type(tokenizer).from_ggml_file(tiny_model).encode(PROMPT) == tokenizer.encode(PROMPT)


def test_metadata_in_the_place_of_the_files(make_tiny):
    path = make_tiny(context_length=64)
    ids = [(7 * i) % 300 + 3 for i in range(40)]

    def logits(path, **options):
        llama = Llama(path, n_ctx=64, type_k="f32", type_v="f32", verbose=False, **options)
        llama.eval(ids)
        return llama._session.logits()

    plain = logits(path)
    other = logits(make_tiny(context_length=64, freq_base=500.0))
    assert not np.array_equal(plain, other)
    assert np.array_equal(logits(path, rope_freq_base=500.0), other)
    assert np.array_equal(logits(path, kv_overrides={"llama.rope.freq_base": 500.0}), other)
    linear = logits(make_tiny(context_length=64, rope_scaling={"type": "linear", "factor": 4.0}))
    assert np.array_equal(logits(path, rope_freq_scale=0.25), linear)
    assert np.array_equal(logits(path, rope_scaling_type=1, rope_freq_scale=0.25), linear)
    yarn = logits(make_tiny(context_length=64, rope_scaling={"type": "yarn", "factor": 4.0, "original": 16}))
    assert np.array_equal(logits(path, rope_scaling_type=2, rope_freq_scale=0.25, yarn_orig_ctx=16), yarn)
    llama = Llama(path, n_ctx=64, kv_overrides={"tokenizer.ggml.add_bos_token": True}, verbose=False)
    assert llama.tokenize(b"hello")[0] == llama.token_bos()
    assert llama.metadata["tokenizer.ggml.add_bos_token"] == "true"
    bare = Llama(path, vocab_only=True, kv_overrides={"tokenizer.ggml.add_bos_token": True}, verbose=False)
    assert bare.tokenize(b"hello")[0] == llama.token_bos()
    with pytest.raises(ValueError, match="freq_base"):
        Llama(path, kv_overrides={"llama.rope.freq_base": "high"}, verbose=False)


def test_pickled_it_is_its_arguments(tiny_model):
    llama = Llama(tiny_model, n_ctx=64, type_k="f16", seed=5, verbose=False)
    other = pickle.loads(pickle.dumps(llama))
    assert (other.n_ctx(), other.cache_report()["k"]["codec"]) == (64, "f16")
    assert text_of(other(PROMPT)) == text_of(Llama(tiny_model, n_ctx=64, type_k="f16", seed=5, verbose=False)(PROMPT))


SAMPLERS = [
    {"typical_p": 0.2},
    {"top_n_sigma": 0.5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.001},
    {"dynatemp_range": 1.4, "dynatemp_exponent": 2.0},
    {"mirostat_mode": 1, "mirostat_tau": 1.0},
    {"mirostat_mode": 2, "mirostat_tau": 1.0, "mirostat_eta": 0.5},
    {"samplers": ["top_k"], "top_k": 1},
    {"repeat_last_n": 2, "repeat_penalty": 5.0},
]


@pytest.mark.parametrize("options", SAMPLERS, ids=lambda options: next(iter(options)))
def test_samplers_are_the_cores(llama, options):
    """What is drawn with an option is what the core draws with it, and another text than without."""
    plain = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 3}
    tokens = llama.tokenize(b"the tin the tin the")
    named = {"mirostat" if name == "mirostat_mode" else name: value for name, value in options.items()}

    def ours(**more):
        call = {**plain, **more}
        call["temp"] = call.pop("temperature")
        steps = llama.generate(tokens, **call)
        return [next(steps) for _ in range(30)]

    llama._read(tokens)
    sampling = _core.SamplingOptions(**{**plain, **named})
    generation = _core.Generation(llama._session, sampling, ignore_end_tokens=True)
    expected = [generation.next().token for _ in range(30)]
    assert ours(**options) == expected
    assert expected != ours()
    call = {**plain, **options, "max_tokens": 8}
    chat = [{"role": "user", "content": "hello"}]
    assert llama.create_completion(tokens, **call)["choices"] and llama.create_chat_completion(chat, **call)["choices"]


def test_dry_ends_a_repetition(llama):
    options = {"temperature": 0, "max_tokens": 12, "logit_bias": {**NO_END, 100: 60.0}}
    assert text_of(llama(PROMPT, **options)) == "a" * 12
    dry = {"dry_multiplier": 100.0, "dry_allowed_length": 1, "dry_penalty_last_n": 8, "dry_sequence_breakers": ["in"]}
    assert text_of(llama(PROMPT, **options, **dry)) != "a" * 12


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"top_n_sigma": "wide"}, TypeError, "top_n_sigma"),
        ({"dry_allowed_length": 1.5}, TypeError, "dry_allowed_length"),
        ({"samplers": "top_k"}, TypeError, "samplers"),
        ({"samplers": ["top_q"]}, ValueError, "top_q"),
        ({"mirostat_mode": 3}, ValueError, "mirostat_mode"),
    ],
)
def test_samplers_that_make_no_sense(llama, options, error, said):
    with pytest.raises(error, match=said):
        llama(PROMPT, **options)


# ---- processors and criteria


def test_logits_processors(llama):
    seen = []

    def ban(input_ids, scores):
        seen.append((input_ids.tolist(), scores.shape, scores.dtype))
        scores[100] = 1e6
        return scores

    result = llama(PROMPT, max_tokens=3, temperature=0, logits_processor=LogitsProcessorList([ban]), logprobs=0)
    assert text_of(result) == "aaa"
    tokens = llama.tokenize(PROMPT.encode())
    assert [entry[0] for entry in seen] == [tokens, [*tokens, 100], [*tokens, 100, 100]]
    assert {entry[1:] for entry in seen} == {((320,), np.dtype(np.float32))}
    # Log-probabilities are those of the model.
    assert result["choices"][0]["logprobs"]["token_logprobs"][0] < -1
    assert next(llama.generate(tokens, temp=0, logits_processor=ban)) == 100
    with pytest.raises(ValueError, match="logits_processor gave"):
        llama(PROMPT, logits_processor=lambda ids, scores: scores[:-1])
    with pytest.raises(TypeError, match="logits_processor must be"):
        llama(PROMPT, logits_processor=5)
    with pytest.raises(KeyError, match="mine"):
        llama(PROMPT, logits_processor=lambda ids, scores: {}["mine"])
    assert llama(PROMPT, max_tokens=2)["choices"]


def test_at_least_so_many_tokens(llama):
    options = {"temperature": 0, "max_tokens": 20, "logit_bias": {2: 1000.0}}
    assert llama(PROMPT, **options)["usage"]["completion_tokens"] == 0
    least = LogitsProcessorList([MinTokensLogitsProcessor(5, llama.token_eos())])
    assert llama(PROMPT, **options, logits_processor=least)["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("stream", [False, True])
def test_stopping_criteria(llama, stream):
    tokens = llama.tokenize(PROMPT.encode())
    enough = StoppingCriteriaList([lambda ids, logits: len(ids) >= len(tokens) + 4])
    whole = text_of(llama(PROMPT, max_tokens=4, temperature=0, logit_bias=NO_END))
    result = llama(PROMPT, max_tokens=9, temperature=0, logit_bias=NO_END, stopping_criteria=enough, stream=stream)
    choices = [chunk["choices"][0] for chunk in result] if stream else [result["choices"][0]]
    assert "".join(choice["text"] for choice in choices) == whole
    assert choices[-1]["finish_reason"] == "stop"
    assert len(list(llama.generate(tokens, stopping_criteria=enough))) == 4


def test_what_is_sent_into_generate_is_read(llama):
    tokens = llama.tokenize(PROMPT.encode())
    steps = llama.generate(tokens, temp=0)
    first = next(steps)
    after = steps.send([7, 8, 9])
    assert llama.input_ids.tolist() == [*tokens, first, 7, 8, 9]
    assert after == next(llama.generate([*tokens, first, 7, 8, 9], temp=0))


def test_sample(tiny_model):
    llama = Llama(tiny_model, n_ctx=64, logits_all=True, verbose=False)
    tokens = llama.tokenize(PROMPT.encode())
    llama.eval(tokens)
    assert llama.sample(temp=0) == int(llama.scores[-1].argmax())
    assert llama.sample(temp=0, idx=1) == int(llama.scores[1].argmax())
    assert llama.input_ids.tolist() == tokens
    llama.set_seed(4)
    first = [llama.sample(temp=2.0) for _ in range(5)]
    llama.set_seed(4)
    assert [llama.sample(temp=2.0) for _ in range(5)] == first
    assert len(set(first)) > 1
    with pytest.raises(ValueError, match="idx"):
        llama.sample(idx=len(tokens))


# ---- infill


INFILL = {f"tokenizer.ggml.fim_{name}_token_id": token for name, token in (("pre", 270), ("suf", 271), ("mid", 272))}


@pytest.mark.parametrize("suffix_first", [False, True])
def test_infill(make_tiny, suffix_first):
    llama = Llama(make_tiny(extra=INFILL), n_ctx=64, spm_infill=suffix_first, verbose=False)
    a, b = llama.tokenize(b"hello", False), llama.tokenize(b" the", False)
    expected = [271, *b, 270, *a, 272] if suffix_first else [270, *a, 271, *b, 272]
    options = {"max_tokens": 8, "temperature": 0, "logit_bias": NO_END}
    result = llama("hello", suffix=" the", **options)
    assert result["usage"]["prompt_tokens"] == len(expected)
    assert llama.input_ids.tolist()[: len(expected)] == expected
    assert text_of(result) == text_of(llama(expected, **options))
    assert text_of(llama("hello", " the", echo=True, **options)).startswith("hello")


def test_infill_needs_tokens(llama):
    with pytest.raises(ValueError, match="no tokens for infill"):
        llama("hello", suffix=" the")
    with pytest.raises(TypeError, match="suffix"):
        llama("hello", suffix=5)


# ---- states and caches


def test_a_state_in_memory(tiny_model):
    llama = Llama(tiny_model, n_ctx=128, verbose=False)
    llama.eval([(7 * i) % 50 + 3 for i in range(100)])
    state = llama.save_state()
    assert isinstance(state, LlamaState) and state.n_tokens == 100 and state.llama_state_size > 0
    llama.eval([5])
    expected = llama._session.logits()
    llama.reset()
    llama.load_state(state)
    llama.eval([5])
    assert np.array_equal(llama._session.logits(), expected)
    other = Llama(tiny_model, n_ctx=256, verbose=False)
    copy = pickle.loads(pickle.dumps(state))
    assert copy.input_ids.tolist() == state.input_ids.tolist()
    for again in (copy, state):
        other.load_state(again)
        other.eval([5])
        assert np.array_equal(other._session.logits(), expected)
    with pytest.raises(ValueError, match="cache type"):
        Llama(tiny_model, n_ctx=128, type_k="f16", verbose=False).load_state(copy)


def test_a_state_with_all_logits(tiny_model):
    llama = Llama(tiny_model, n_ctx=64, logits_all=True, verbose=False)
    llama.eval([5, 6, 7])
    state = llama.save_state()
    scores = llama.scores
    assert np.array_equal(state.scores, scores)
    llama.reset()
    llama.load_state(state)
    assert np.array_equal(llama.scores, scores)
    llama.eval([8])
    assert llama.scores.shape == (4, 320)


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("cache_type", [None, "f16"])
def test_caches_read_each_prompt_once(tiny_model, tmp_path, kind, cache_type):
    types = {"type_k": cache_type, "type_v": cache_type}
    llama = Llama(tiny_model, n_ctx=256, verbose=False, **types)
    cache = LlamaRAMCache() if kind == "memory" else LlamaDiskCache(str(tmp_path / "cache"))
    a, b = ([(k * i) % 300 + k for i in range(150)] for k in (7, 11))
    options = {"max_tokens": 4, "temperature": 0, "logit_bias": NO_END}
    expected = [text_of(llama(prompt, **options)) for prompt in (a, b)]
    llama.reset()
    llama.set_cache(cache)
    llama._session.reset_timings()
    assert [text_of(llama(prompt, **options)) for prompt in (a, b, a, b)] == expected * 2
    assert llama._session.timings()["prompt_tokens"] == len(a) + len(b)
    assert a in cache and [1, 2] not in cache and 0 < cache.cache_size <= cache.capacity_bytes
    with pytest.raises(KeyError):
        cache[[1, 2]]
    # A conversation that goes on reads what is new.
    held = llama.input_ids.tolist()
    llama(a, **options)
    llama._session.reset_timings()
    llama([*held, 9], **options)
    assert llama._session.timings()["prompt_tokens"] == 1
    llama.set_cache(None)
    assert text_of(llama(a, **options)) == expected[0]


def test_a_cache_lets_go_of_the_oldest(tiny_model, tmp_path):
    llama = Llama(tiny_model, n_ctx=64, type_k="f16", type_v="f16", verbose=False)
    llama.eval([5] * 20)
    state = llama.save_state()
    size = len(state.llama_state)
    for cache in (LlamaRAMCache(2 * state.llama_state_size), LlamaDiskCache(str(tmp_path / "c"), 2 * size)):
        for first in (1, 2, 3):
            cache[[first, 5]] = state
        assert [1] not in cache and [2] in cache and [3] in cache


def test_a_state_of_another_model_on_disk_is_passed_over(make_tiny, tmp_path):
    paths, cache = [make_tiny(seed=i) for i in range(2)], LlamaDiskCache(str(tmp_path / "cache"))
    for path in paths:
        llama = Llama(path, n_ctx=64, verbose=False)
        expected = text_of(llama(PROMPT, temperature=0))
        llama.reset()
        llama.set_cache(cache)
        assert text_of(llama(PROMPT, temperature=0)) == expected


# ---- embeddings


def test_embeddings(make_tiny):
    path = make_tiny()
    plain = Llama(path, embedding=True, n_ctx=64, type_k="f32", type_v="f32", verbose=False)
    tokens, n = plain.embed("hello the tin", return_count=True)
    assert n == len(tokens) == len(plain.tokenize(b"hello the tin")) and len(tokens[0]) == plain.n_embd()
    # The head of this model is its table of embeddings: logits are their products with the hidden states.
    rows = np.array(tokens, dtype=np.float64)
    assert plain.pooling_type() == 0
    for number, expected in ((1, rows.mean(axis=0)), (2, rows[0]), (3, rows[-1])):
        llama = Llama(path, n_ctx=64, pooling_type=number, type_k="f32", type_v="f32", verbose=False)
        assert llama.pooling_type() == number
        np.testing.assert_allclose(llama.embed("hello the tin"), expected, atol=1e-6)
        unit = np.array(llama.embed(["hello the tin", "in"], normalize=True))
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
        result = llama.create_embedding(["hello the tin", "in"])
        assert [entry["index"] for entry in result["data"]] == [0, 1]
        assert result["usage"]["prompt_tokens"] == n + len(llama.tokenize(b"in"))
        assert llama.n_tokens == 0
        assert len(llama.embed("hello the tin " * 40)) == 64  # of its first n_ctx tokens
        with pytest.raises(ValueError, match="context of 64"):
            llama.embed("hello the tin " * 40, truncate=False)
    with pytest.raises(ValueError, match="pooling_type 4"):
        Llama(path, pooling_type=4, verbose=False)


def test_embeddings_beside_llama_cpp(llama_cpp_python, make_tiny):
    path, texts = make_tiny(), ["hello the tin", "in a tin on the hello"]
    script = """
        import json, sys
        from llama_cpp import Llama
        path, texts = json.load(sys.stdin)
        out = {}
        for pooling in (0, 1, 2, 3):
            options = {"n_ctx": 64, "type_k": 0, "type_v": 0, "pooling_type": pooling, "verbose": False}
            llama = Llama(path, embedding=True, **options)
            out[pooling] = [llama.embed(text, normalize=pooling == 1) for text in texts]
            print(pooling, llama.pooling_type(), file=sys.stderr)
        print(json.dumps(out))
    """
    given = json.dumps([path, texts])
    result = subprocess.run(
        [llama_cpp_python, "-c", textwrap.dedent(script)], input=given, capture_output=True, text=True, check=True
    )
    for pooling, expected in json.loads(result.stdout).items():
        types = {"type_k": 0, "type_v": 0, "pooling_type": int(pooling)}
        llama = Llama(path, n_ctx=64, activations="f32", verbose=False, **types)
        for text, values in zip(texts, expected, strict=True):
            np.testing.assert_allclose(llama.embed(text, normalize=pooling == "1"), values, rtol=2e-3, atol=2e-3)
