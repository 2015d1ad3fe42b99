"""The tokenizer against the PyPI packages `tokenizers` and `sentencepiece`, on generated vocabularies and texts."""

import functools
import io
import json
import pydoc_data.topics
import random
import re

import pytest

from spectralkv import _core

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
N_TEXTS = 3000

LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA.replace(r"\p{N}{1,3}", r"\p{N}")
PRE_TOKENIZERS = ["gpt-2", "llama-bpe", "qwen2", "smollm", "tekken"]
CONTROLS = ["<|end|>", "<|end|>>", "<|start|>"]
USERS = ["<user>", "    ", "<us"]


def any_character(rng):
    """From any plane, assigned or not, no surrogates; the first planes more often."""
    code = rng.randrange(rng.choice([0x80, 0x300, 0x3000, 0x10000, 0x20000, 0x110000]))
    return chr(code) if not 0xD800 <= code < 0xE000 else "a"


# What the rules look at: cases of letters, marks, numbers, white space, line ends, contractions, special tokens.
PARTS = [
    " ",
    "  ",
    "   ",
    "\n",
    "\r\n",
    "\t",
    "\n\n",
    "\x0b",
    "\x85",
    "\xa0",
    "\u2003",
    "\u2028",
    "\u3000",
    "\u1680",
    "'s",
    "'S",
    "'t",
    "'re",
    "'RE",
    "'vE",
    "'m",
    "'ll",
    "'lL",
    "'d",
    "'\u017f",
    "'",
    "'l",
    "'r",
    "\u017f",
    "a",
    "bc",
    "The",
    "HTTPServer",
    "A",
    "ABC",
    "\u01c5",
    "\u02b0",
    "\u00aa",
    "\u0301",
    "\u0308\u0301",
    "\u20dd",
    "東",
    "京都",
    "ا",
    "é",
    "Ж",
    "ж",
    "1",
    "23",
    "12345",
    "\u00b2",
    "\u2167",
    "\u0663",
    "!",
    "...",
    "/",
    "//\n",
    "?!/\n",
    "\x00",
    "\x1f",
    "\x7f",
    "\ufffd",
    "\ufeff",
    "\u200d",
    "🙂",
    "👩\u200d🚀",
    "\u0378",
    "\U000e0001",
    "<|end|>",
    "<|end|>>",
    "<|end|",
    "<user>",
    "<user",
    "<us",
    "<",
    " unmerged",
    "unmerged",
]


def texts(seed, n=N_TEXTS):
    rng = random.Random(seed)
    prose = pydoc_data.topics.topics["assert"] + pydoc_data.topics.topics["formatstrings"]
    for _ in range(n):
        kind = rng.randrange(4)
        size = rng.choice([1, 2, 3, 5, 8, 20, 60])
        if kind == 0:
            yield "".join(any_character(rng) for _ in range(size))
        elif kind == 1:
            yield "".join(rng.choice(PARTS) for _ in range(size))
        elif kind == 2:
            yield "".join(rng.choice([any_character, lambda r: r.choice(PARTS)])(rng) for _ in range(size))
        else:
            at = rng.randrange(len(prose))
            yield prose[at : at + 5 * size]


def corpus():
    """Prose, and words of several scripts drawn with a bias, so that merges across bytes and characters come about."""
    rng = random.Random(1)
    words = [
        "".join(chr(rng.randrange(low, low + 12)) for _ in range(rng.randrange(1, 6)))
        for low in (0x41, 0x61, 0x430, 0x5D0, 0x905, 0x4E00, 0x1F600, 0x30, 0x21, 0x300)
        for _ in range(30)
    ]
    yield from pydoc_data.topics.topics.values()
    for _ in range(2000):
        yield rng.choice([" ", "  ", "\n", ""]).join(words[int(len(words) * rng.random() ** 2)] for _ in range(20))


@functools.cache
def byte_level(name):
    """A tokenizer of `tokenizers` with one of the pre-tokenizers, and ours with the same vocabulary."""
    hf = pytest.importorskip("tokenizers")
    split = hf.pre_tokenizers
    alphabet = split.ByteLevel.alphabet()

    def assemble(model):
        tokenizer = hf.Tokenizer(model)
        tokenizer.pre_tokenizer = {
            "gpt-2": lambda: split.ByteLevel(add_prefix_space=False),
            "smollm": lambda: split.Sequence(
                [split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)]
            ),
            "llama-bpe": lambda: split.Sequence(
                [split.Split(hf.Regex(LLAMA), "isolated"), split.ByteLevel(add_prefix_space=False, use_regex=False)]
            ),
            "qwen2": lambda: split.Sequence(
                [split.Split(hf.Regex(QWEN2), "isolated"), split.ByteLevel(add_prefix_space=False, use_regex=False)]
            ),
            "tekken": lambda: split.Sequence(
                [split.Split(hf.Regex(TEKKEN), "isolated"), split.ByteLevel(add_prefix_space=False, use_regex=False)]
            ),
        }[name]()
        tokenizer.decoder = hf.decoders.ByteLevel()
        return tokenizer

    trained = assemble(hf.models.BPE())
    trained.train_from_iterator(
        corpus(), hf.trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    # Tokens that no merge makes: only ignore_merges finds them.
    for word in ["Ġunmerged", "unmerged", "...", "ÃĦÃĸ"]:
        vocab.setdefault(word, len(vocab))
    theirs = assemble(hf.models.BPE(vocab=vocab, merges=merges, ignore_merges=name in ("llama-bpe", "tekken")))
    theirs.add_special_tokens([hf.AddedToken(t, normalized=False) for t in CONTROLS])
    theirs.add_tokens([hf.AddedToken(t, normalized=False) for t in USERS])
    tokens = [theirs.id_to_token(i) for i in range(theirs.get_vocab_size())]
    types = [CONTROL if t in CONTROLS else USER_DEFINED if t in USERS else NORMAL for t in tokens]
    ours = _core.Tokenizer("gpt2", tokens, [], types, [" ".join(m) for m in merges], name)
    return theirs, ours


@functools.cache
def newer_numbers():
    """Characters that the `tokenizers` pre-tokenizer Digits counts as numbers and its regular expressions do not.

    The two follow different versions of Unicode (17 and 16 in tokenizers 0.23).
    """
    hf = pytest.importorskip("tokenizers")
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    everything = "".join(map(chr, codes))
    rest = hf.pre_tokenizers.Split(hf.Regex(r"\p{N}"), "removed").pre_tokenize_str(everything)
    rest = "".join(text for text, _ in rest)
    digits = hf.pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str(rest)
    numbers = "".join(text for i, (text, _) in enumerate(digits) if i % 2 == 1)
    assert len(numbers) < 40
    return set(numbers)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_byte_level_encodes_as_tokenizers_does(name):
    theirs, ours = byte_level(name)
    skip = newer_numbers() if name == "smollm" else set()
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


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_character_is_split_as_tokenizers_does(name):
    """Each character between a letter and a number, which shows whether it is a letter, a mark, a number or a space."""
    theirs, ours = byte_level(name)
    skip = newer_numbers() if name == "smollm" else set()
    codes = [*range(0xD800), *range(0xE000, 0x33000), *range(0x33000, 0x110000, 61), *range(0xE0000, 0xE0200)]
    codes = [c for c in codes if chr(c) not in skip]
    for start in range(0, len(codes), 4096):
        text = "".join(f"a{chr(c)}A{chr(c)}1" for c in codes[start : start + 4096])
        assert ours.encode(text.encode(), False, True) == theirs.encode(text).ids, hex(codes[start])


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_byte_level_decodes_any_ids(name):
    theirs, ours = byte_level(name)
    rng = random.Random(name)
    for _ in range(500):
        ids = [rng.randrange(theirs.get_vocab_size()) for _ in range(rng.randrange(20))]
        assert ours.decode(ids, True, False).decode("utf-8", "replace") == theirs.decode(ids, skip_special_tokens=False)
        plain = ours.decode(ids, False, False).decode("utf-8", "replace")
        assert plain == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
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
