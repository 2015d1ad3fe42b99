"""The tokenizer against the PyPI packages `tokenizers` and `sentencepiece`, on generated vocabularies and texts."""

import functools
import io
import json
import random
import re

import pytest
from support.splits import (
    BYTE,
    CONTROL,
    CONTROLS,
    NORMAL,
    SPLITS,
    UNKNOWN,
    UNUSED,
    USERS,
    byte_level_vocabulary,
    corpus,
    every_character,
    newer_characters,
    texts,
)

from spectralkv import _core


@functools.cache
def byte_level(name):
    """A tokenizer of `tokenizers` with one of the pre-tokenizers, and ours with the same vocabulary."""
    hf = pytest.importorskip("tokenizers")
    split = hf.pre_tokenizers
    tokens, types, merges = byte_level_vocabulary()
    ignore_merges, _ = _core.pretokenizers()[name]
    plain = {token: i for i, token in enumerate(tokens) if types[i] == NORMAL}
    theirs = hf.Tokenizer(hf.models.BPE(vocab=plain, merges=merges, ignore_merges=ignore_merges))
    theirs.pre_tokenizer = split.Sequence(
        [
            *(split.Split(hf.Regex(pattern), "isolated") for pattern in SPLITS[name]),
            split.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    theirs.decoder = hf.decoders.ByteLevel()
    theirs.add_special_tokens([hf.AddedToken(t, normalized=False) for t in CONTROLS])
    theirs.add_tokens([hf.AddedToken(t, normalized=False) for t in USERS])
    ours = _core.Tokenizer("gpt2", tokens, [], types, [" ".join(m) for m in merges], name)
    return theirs, ours


@pytest.mark.parametrize("name", SPLITS)
def test_byte_level_encodes_as_tokenizers_does(name):
    theirs, ours = byte_level(name)
    skip = newer_characters()
    for text in texts(name):
        text = "".join(c for c in text if c not in skip)
        expected = theirs.encode(text).ids
        actual = ours.encode(text.encode(), False, True)
        assert actual == expected, (
            text,
            [theirs.id_to_token(i) for i in expected],
            [theirs.id_to_token(i) for i in actual],
        )
        assert ours.decode(actual, True, False) == text.encode()


@pytest.mark.parametrize("name", SPLITS)
def test_every_character_is_split_as_tokenizers_does(name):
    theirs, ours = byte_level(name)
    skip = newer_characters()
    for text in every_character():
        text = "".join(c for c in text if c not in skip)
        assert ours.encode(text.encode(), False, True) == theirs.encode(text).ids, text[:20]


@pytest.mark.parametrize("name", SPLITS)
def test_byte_level_decodes_any_ids(name):
    theirs, ours = byte_level(name)
    rng = random.Random(name)
    for _ in range(500):
        ids = [rng.randrange(theirs.get_vocab_size()) for _ in range(rng.randrange(20))]
        assert ours.decode(ids, True, False).decode("utf-8", "replace") == theirs.decode(ids, skip_special_tokens=False)
        plain = ours.decode(ids, False, False).decode("utf-8", "replace")
        assert plain == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("name", SPLITS)
def test_byte_level_round_trips_any_bytes(name):
    _, ours = byte_level(name)
    rng = random.Random(name)
    for _ in range(1000):
        text = rng.randbytes(rng.randrange(60))
        assert ours.decode(ours.encode(text, True, False), False, True) == text


def spm_from_tokenizers(theirs):
    """Ours from a BPE of `tokenizers` with byte fallback: the scores fall with the rank of the merge."""
    model = json.loads(theirs.to_str())["model"]
    tokens = [theirs.id_to_token(i) for i in range(theirs.get_vocab_size())]
    scores = [0.0] * len(tokens)
    for rank, (left, right) in reversed(list(enumerate(model["merges"]))):  # the first merge that gives a token counts
        scores[model["vocab"][left + right]] = -1.0 - rank
    special = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL}
    types = [BYTE if re.fullmatch("<0x[0-9A-F]{2}>", t) else special.get(t, NORMAL) for t in tokens]
    return _core.Tokenizer("llama", tokens, scores, types, [], "", bos=1, eos=2, unk=0)


@functools.cache
def trained_spm(with_bytes):
    hf = pytest.importorskip("tokenizers")

    def assemble(model):
        tokenizer = hf.Tokenizer(model)
        n = hf.normalizers
        tokenizer.normalizer = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
        d = hf.decoders
        tokenizer.decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
        return tokenizer

    trained = assemble(hf.models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    # Merges only inside words, as SentencePiece makes them.
    trained.pre_tokenizer = hf.pre_tokenizers.Split("▁", "merged_with_next")
    bytes_ = [f"<0x{b:02X}>" for b in range(256)] if with_bytes else []
    trained.train_from_iterator(
        corpus(),
        hf.trainers.BpeTrainer(
            vocab_size=2000, special_tokens=["<unk>", "<s>", "</s>", *bytes_], limit_alphabet=200, show_progress=False
        ),
    )
    model = json.loads(trained.to_str())["model"]
    vocab = model["vocab"]
    # As Hugging Face's own converter of SentencePiece models does: a token may come of any two tokens that spell it.
    order = [left + right for left, right in model["merges"]]
    merges = [(t[:i], t[i:]) for t in order for i in range(1, len(t)) if t[:i] in vocab and t[i:] in vocab]
    theirs = assemble(hf.models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    theirs.add_special_tokens([hf.AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return theirs, spm_from_tokenizers(theirs)


def assert_spm_matches(theirs, ours, text):
    expected = theirs.encode(text, add_special_tokens=False).ids
    actual = ours.encode(text.encode(), False, True)
    assert actual == expected, (
        text,
        [theirs.id_to_token(i) for i in expected],
        [theirs.id_to_token(i) for i in actual],
    )


@pytest.mark.parametrize("with_bytes", [True, False])
def test_spm_encodes_as_tokenizers_does(with_bytes):
    theirs, ours = trained_spm(with_bytes)
    rng = random.Random(8)
    for text in texts("spm"):
        # Special tokens in the text: the space in front of each part that follows one.
        text = "".join(
            rng.choice(["</s>", "<s>", "<unk>", "</s"]) + p if rng.random() < 0.3 else p for p in text.partition(" ")
        )
        assert_spm_matches(theirs, ours, text)
        if with_bytes:
            plain = ours.encode(text.encode(), False, False)
            assert ours.decode(plain, False, True).decode() == text.replace("▁", " ")  # the one thing that is lost


def test_spm_decodes_any_ids():
    theirs, ours = trained_spm(True)
    rng = random.Random(9)
    vocabulary = [i for i in range(theirs.get_vocab_size()) if not 3 <= i < 3 + 256 or i < 3 + 128]  # ASCII bytes
    for _ in range(500):
        ids = [rng.choice(vocabulary) for _ in range(rng.randrange(20))]
        assert ours.decode(ids, False, True).decode() == theirs.decode(ids, skip_special_tokens=True)
        ids = [rng.randrange(theirs.get_vocab_size()) for _ in range(rng.randrange(20))]
        ours.decode(ids, True, True)


def test_spm_checkpoint_matches_tokenizers(shared_reference):
    hf = pytest.importorskip("tokenizers")
    theirs = hf.Tokenizer.from_file(str(shared_reference / "tiny-llama-tied-spm" / "tokenizer.json"))
    ours = spm_from_tokenizers(theirs)
    for text in texts("checkpoint"):
        assert_spm_matches(theirs, ours, text)


@pytest.mark.parametrize("prefix", [True, False])
def test_spm_matches_sentencepiece(prefix):
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in corpus() for line in text.split("\n")),
        model_writer=model,
        model_type="bpe",
        vocab_size=2000,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        character_coverage=0.98,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    n = theirs.get_piece_size()
    types = [
        UNKNOWN
        if theirs.is_unknown(i)
        else CONTROL
        if theirs.is_control(i)
        else BYTE
        if theirs.is_byte(i)
        else UNUSED
        if theirs.is_unused(i)
        else NORMAL
        for i in range(n)
    ]
    ours = _core.Tokenizer(
        "llama",
        [theirs.id_to_piece(i) for i in range(n)],
        [theirs.get_score(i) for i in range(n)],
        types,
        [],
        "",
        bos=1,
        eos=2,
        unk=0,
        add_space_prefix=prefix,
    )
    for text in texts("sentencepiece"):
        text = text.replace("▁", "_").replace("\0", "")  # what its normalizer does not keep
        expected = theirs.encode(text)
        assert ours.encode(text.encode(), False, False) == expected, (text, theirs.encode(text, out_type=str))
