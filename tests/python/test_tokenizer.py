"""The tokenizer on real vocabularies: the demo model's and the shared checkpoints', against ids from transformers."""

import codecs
import functools
import json
import random
import time

import pytest

from spectralkv import _core

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@functools.cache
def smollm2(path):
    """The demo model's tokenizer, read with the PyPI package gguf."""
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(path).fields

    def get(key):
        return fields[f"tokenizer.ggml.{key}"].contents()

    args = (get("model"), get("tokens"), [], get("token_type"), get("merges"), get("pre"))
    begin = time.perf_counter()
    tokenizer = _core.Tokenizer(*args, bos=get("bos_token_id"), eos=get("eos_token_id"), unk=get("unknown_token_id"))
    return tokenizer, time.perf_counter() - begin


def load_checkpoint(folder):
    """A tokenizer from a Hugging Face tokenizer.json, as a converter would store it in a GGUF."""
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = data["model"]
    ids = dict(model["vocab"]) | {t["content"]: t["id"] for t in data["added_tokens"]}
    tokens = sorted(ids, key=ids.get)
    assert [ids[t] for t in tokens] == list(range(len(tokens)))
    types = [NORMAL] * len(tokens)
    for t in data["added_tokens"]:
        types[t["id"]] = UNKNOWN if t["content"] == model["unk_token"] else CONTROL if t["special"] else USER_DEFINED
    if not model["byte_fallback"]:
        merges = [" ".join(m) for m in model["merges"]]
        return _core.Tokenizer(
            "gpt2",
            tokens,
            [],
            types,
            merges,
            "llama-bpe",
            bos=ids["<|begin_of_text|>"],
            eos=ids["<|eot_id|>"],
            add_bos=True,
        )
    scores = [0.0] * len(tokens)
    for rank, (left, right) in enumerate(model["merges"]):
        scores[ids[left + right]] = -1.0 - rank
    for token, i in ids.items():
        if token.startswith("<0x"):
            types[i] = BYTE
    return _core.Tokenizer(
        "llama", tokens, scores, types, [], "", bos=ids["<s>"], eos=ids["</s>"], unk=ids["<unk>"], add_bos=True
    )


def test_demo_model_matches_transformers(demo_model, shared_reference):
    tokenizer, seconds = smollm2(demo_model)
    assert seconds < 1.0  # 49152 tokens and 48900 merges
    cases = json.loads((shared_reference / "smollm2_tokenizer_cases.json").read_text(encoding="utf-8"))
    assert cases
    for case in cases:
        text = case["text"].encode()
        assert tokenizer.encode(text, True, True) == case["ids"], case["text"][:80]
        assert tokenizer.decode(case["ids"], True, True) == text


def test_demo_model_special_tokens_in_text(demo_model):
    tokenizer, _ = smollm2(demo_model)
    text = b"<|im_start|>user\nhi<|im_end|>"
    special, plain = tokenizer.encode(text, False, True), tokenizer.encode(text, False, False)
    assert (special[0], special[-1]) == (1, 2)
    assert not {1, 2} & set(plain)
    assert tokenizer.decode(special, True, False) == tokenizer.decode(plain, False, False) == text
    assert tokenizer.decode(special, False, False) == b"user\nhi"
    assert tokenizer.is_end(2)
    assert not tokenizer.is_end(1)


def test_demo_model_leaves_out_bytes_it_has_no_token_for(demo_model):
    # Its unknown token is <|endoftext|>, a control token, which must not come out of a text.
    tokenizer, _ = smollm2(demo_model)
    assert tokenizer.encode(b"\xff\x04", False, False) == []
    assert tokenizer.encode(b"a\xffb", False, False) == tokenizer.encode(b"a", False, False) + tokenizer.encode(
        b"b", False, False
    )


@pytest.mark.parametrize("name", ["tiny-llama3", "tiny-llama-tied-spm"])
def test_checkpoint_matches_transformers(shared_reference, name):
    tokenizer = load_checkpoint(shared_reference / name)
    cases = json.loads((shared_reference / name / "tokenizer_cases.json").read_text(encoding="utf-8"))
    assert cases
    for case in cases:
        assert tokenizer.encode(case["text"].encode(), True, True) == case["ids"], case["text"]
        assert tokenizer.decode(case["ids"], False, True).decode() == case["decoded"]


@pytest.mark.parametrize("name", ["tiny-llama3", "tiny-llama-tied-spm"])
def test_checkpoint_round_trips_any_bytes(shared_reference, name):
    tokenizer = load_checkpoint(shared_reference / name)
    rng = random.Random(5)
    for _ in range(300):
        text = rng.randbytes(rng.randrange(40))
        ids = tokenizer.encode(text, True, False)
        assert tokenizer.decode(ids, False, True) == text


@pytest.mark.parametrize("name", [None, "", *_core.pretokenizers()])
def test_files_that_leave_bos_and_pre_tokenizer_open(name, tmp_path):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    if name is not None:
        writer.add_tokenizer_pre(name)
    writer.add_token_list([b"a", b"b", b"ab", b"<s>", b"<|im_end|>"])
    writer.add_token_types([NORMAL, NORMAL, NORMAL, CONTROL, NORMAL])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = _core.Tokenizer.from_file(tmp_path / "v.gguf")
    _, add_bos = _core.pretokenizers()[name or "default"]
    assert tokenizer.encode(b"ab<|im_end|>", True, True) == [*[3] * add_bos, 2, 4]  # a control token, whatever its type
    assert tokenizer.is_end(4)
    assert bool(tokenizer.warning) == (not name)


@pytest.mark.parametrize("seed", range(20))
def test_stream_matches_the_incremental_decoder_of_python(seed):
    rng = random.Random(seed)
    pieces = ["é", "東", "🙂", "a", "\U0010ffff", "\x00"]
    data = b"".join(
        rng.choice([rng.choice(pieces).encode(), rng.randbytes(1), rng.choice(pieces).encode()[:-1]])
        for _ in range(200)
    )
    ours, theirs = _core.Utf8Stream(), codecs.getincrementaldecoder("utf-8")("replace")
    while data:
        n = rng.randrange(1, 5)
        assert ours.put(data[:n]) == theirs.decode(data[:n])
        data = data[n:]
    assert ours.finish() == theirs.decode(b"", final=True)
