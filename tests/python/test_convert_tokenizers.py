"""Converted tokenizers give the ids of the libraries that they come from."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from support.hf_checkpoint import edit_json, write_hf, write_json, write_tekken
from support.splits import CASED, as_class
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from spectralkv import _core
from spectralkv.convert import ConvertOptions, convert, plan_conversion
from spectralkv.convert.pretokenizers import (
    BLOOM,
    DEEPSEEK3,
    DEEPSEEK_SIGNS,
    EAST_ASIAN,
    GPT2,
    GPT4O,
    HAN_AND_KANA,
    LLAMA3,
    QWEN2,
    QWEN35,
    SEED_CODER,
    TEKKEN,
)

TEXTS = [
    "The quick brown fox's 12 dogs can't jump over 34567 lazy cats, can they?",
    "Größe naïve café 東京 привет  two  spaces\ttab\n\nnew line 🙂🚀 a/b//c",
    "def f(x):\n    return x**2 + 1  # comment\n",
    "",
    " leading and trailing ",
    "HTTPServer camelCase XMLHttpRequest1234567890",
]
VOCAB_ONLY = ConvertOptions(vocab_only=True, quiet=True)


def split_of(*steps: str | pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """Expressions, and steps of other kinds, before the byte-level one."""
    made = [pre_tokenizers.Split(Regex(step), "isolated") if isinstance(step, str) else step for step in steps]
    return pre_tokenizers.Sequence([*made, pre_tokenizers.ByteLevel(False, use_regex=False)])


DIGITS = pre_tokenizers.Digits(True)
# DeepSeek's file lists single letters as such, not as ranges of one, and line ends as themselves.
LETTERS = "".join(
    part[0] if part[0] == part[2] else part for part in map("".join, zip(*[iter(as_class(CASED))] * 3, strict=True))
)
PRE = {
    "gpt-2": (pre_tokenizers.ByteLevel(False), False),
    "gpt-2 as split": (split_of(GPT2), False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]), False),
    "llama-bpe": (split_of(LLAMA3), True),
    "tekken": (split_of(TEKKEN), True),
    "qwen2": (split_of(QWEN2), False),
    "qwen35": (split_of(QWEN35), False),
    "smaug-bpe": (split_of(LLAMA3), False),
    "minicpm5": (split_of(r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")), True),
    "gpt-4o": (split_of(GPT4O), False),
    "seed-coder": (split_of(SEED_CODER), False),
    "seed-coder as split": (split_of(SEED_CODER.replace(r"\r\n", "\r\n")), False),  # line ends as themselves
    "deepseek-llm": (split_of("[\r\n]", rf"\s?[{LETTERS}]+", DEEPSEEK_SIGNS, r"\s+$", EAST_ASIAN, DIGITS), False),
    "deepseek-coder": (split_of("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN, DIGITS), False),
    "deepseek-v3": (split_of(r"\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK3), False),
    "bloom": (split_of(BLOOM), False),
    "viking": (split_of(BLOOM, DIGITS), False),
    "superbpe": (split_of(r"\p{N}+", r"(?=(\d{3})+(?!\d))"), False),
    "smollm as split": (split_of(DIGITS, GPT2), False),
}


def core_tokenizer(path: Path, merges: bool = True) -> _core.Tokenizer:
    """As the file describes it, or without the merges that it lists."""
    m = _core.gguf_info(str(path))["metadata"]
    key = "tokenizer.ggml."
    return _core.Tokenizer(
        m[key + "model"],
        [token.encode("utf-8", "surrogateescape") for token in m[key + "tokens"]],
        m.get(key + "scores", []),
        m[key + "token_type"],
        m.get(key + "merges", []) if merges else [],
        m[key + "pre"],
        bos=m.get(key + "bos_token_id", -1),
        eos=m.get(key + "eos_token_id", -1),
        unk=m.get(key + "unknown_token_id", -1),
        add_bos=m[key + "add_bos_token"],
        add_eos=m[key + "add_eos_token"],
        add_space_prefix=m.get(key + "add_space_prefix", True),
    )


def folder_for(tmp_path: Path, n_vocab: int) -> Path:
    folder = write_hf(tmp_path / "m", n_vocab=n_vocab, n_layers=1)
    edit_json(folder / "config.json", bos_token_id=..., eos_token_id=...)
    (folder / "tokenizer.json").unlink()
    return folder


@pytest.mark.parametrize("name", PRE)
def test_byte_level(name: str, tmp_path: Path) -> None:
    rules, ignore_merges = PRE[name]
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = rules
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    folder = folder_for(tmp_path, tokenizer.get_vocab_size() + 7)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})
    [path] = convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)
    metadata = _core.gguf_info(str(path))["metadata"]
    assert metadata["tokenizer.ggml.pre"] == name.removesuffix(" as split")
    assert metadata["tokenizer.ggml.token_type"][:2] == [3, 3]
    assert metadata["tokenizer.ggml.token_type"][-8:] == [4] + [5] * 7
    own = core_tokenizer(path)
    for text in [*TEXTS, "a<tool>b"]:
        assert own.encode(text.encode(), parse_special=True) == tokenizer.encode(text).ids


@pytest.mark.parametrize("pattern", [TEKKEN, GPT4O])
def test_capitals_outside_ascii_are_noted(pattern: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(ignore_merges=pattern == TEKKEN))
    tokenizer.pre_tokenizer = split_of(pattern)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    folder = folder_for(tmp_path, tokenizer.get_vocab_size())
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"add_bos_token": False, "bos_token": None})
    assert any("capital letters outside ASCII" in note for note in plan_conversion(folder, None, VOCAB_ONLY).notes)


def test_digits_that_merge_are_refused(tmp_path: Path) -> None:
    """deepseek-llm's rule in GGUF leaves them together; in the original they never meet."""
    tokenizer = Tokenizer(models.BPE({"1": 0, "2": 1, "12": 2}, [("1", "2")]))
    tokenizer.pre_tokenizer = PRE["deepseek-llm"][0]
    folder = folder_for(tmp_path, 3)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {})
    with pytest.raises(ValueError, match="the merge '12' joins digits, which GGUF's deepseek-llm"):
        convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)


def test_unknown_pre_tokenizers_are_shown(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE({"1": 0}, []))
    tokenizer.pre_tokenizer = split_of(r"\p{L}")
    folder = folder_for(tmp_path, 1)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {})
    with pytest.raises(
        ValueError, match=r"not known: .*p\{L\}.*known are those of bloom, .* runs where docs/models.md"
    ):
        convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)


def test_composing_is_left_out_with_a_note(tmp_path: Path) -> None:
    """Qwen2 normalizes to NFC, which no GGUF says: text that is composed already has the same ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split_of(QWEN2)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    folder = folder_for(tmp_path, tokenizer.get_vocab_size())
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"add_bos_token": False, "bos_token": None})
    plan = plan_conversion(folder, tmp_path / "v.gguf", VOCAB_ONLY)
    assert [note for note in plan.notes if "NFC" in note]
    [path] = convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)
    own = core_tokenizer(path)
    for text in TEXTS:
        assert own.encode(text.encode(), parse_special=True) == tokenizer.encode(text).ids
    assert own.encode("e\u0301".encode(), parse_special=True) != tokenizer.encode("e\u0301").ids


def test_sentencepiece(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.98,
        minloglevel=2,
    )
    folder = folder_for(tmp_path, 400)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    write_json(folder / "tokenizer_config.json", {})
    [path] = convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)
    reference = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    own = core_tokenizer(path)
    for text in TEXTS:
        assert own.encode(text.encode()) == [reference.bos_id(), *reference.encode(text)]


def byte_fallback(vocab: list[str], merges: list[tuple[str, str]], **more: bool) -> Tokenizer:
    """A tokenizer of these tokens behind <unk>, <s> and the bytes."""
    tokens = ["<unk>", "<s>", *(f"<0x{i:02X}>" for i in range(256)), *vocab]
    ids = {text: i for i, text in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True, **more))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.add_special_tokens(["<unk>", "<s>"])
    return tokenizer


def convert_json(tokenizer: Tokenizer, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """The vocabulary's file, and the notes."""
    folder = folder_for(tmp_path, tokenizer.get_vocab_size())
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"bos_token": "<s>"})
    notes = plan_conversion(folder, None, VOCAB_ONLY).notes
    [path] = convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)
    return path, notes


def test_merges_that_no_scores_can_say(tmp_path: Path) -> None:
    """Random merges: those of one token are apart, and most splits of a token are none. Every text of the letters."""
    rng = np.random.default_rng(0)
    vocab, merges = ["a", "b", "c", "\u2581"], []
    while len(merges) < 40:
        left, right = (vocab[int(i)] for i in rng.integers(0, len(vocab), 2))
        if (left, right) not in merges and len(left + right) < 6:
            merges.append((left, right))
            vocab += [] if left + right in vocab else [left + right]
    order = rng.permutation(len(merges))
    tokenizer = byte_fallback(vocab, [merges[i] for i in order])
    path, notes = convert_json(tokenizer, tmp_path)
    assert "no scores can say these merges" in notes[0]
    assert len(_core.gguf_info(str(path))["metadata"]["tokenizer.ggml.merges"]) == 40
    own, scored = core_tokenizer(path), core_tokenizer(path, merges=False)
    texts = ["".join(letters) for n in range(7) for letters in itertools.product("abc ", repeat=n)]
    for text in [*texts, "é abc ü", "ab東c"]:
        assert own.encode(text.encode()) == tokenizer.encode(text).ids
    assert any(scored.encode(text.encode()) != own.encode(text.encode()) for text in texts)  # they were needed


def test_merges_that_scores_can_say_stay_scores(tmp_path: Path) -> None:
    path, notes = convert_json(byte_fallback(["a", "b", "c", "ab", "abc"], [("a", "b"), ("ab", "c")]), tmp_path)
    assert notes == ()
    assert "tokenizer.ggml.merges" not in _core.gguf_info(str(path))["metadata"]


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_the_spaces_of_metaspace(scheme: str, tmp_path: Path) -> None:
    """As transformers 5 saves SentencePiece's tokenizers: chats with special tokens, texts with spaces of their own."""
    merges = [("\u2581", "a"), ("\u2581", "b"), ("a", "b"), ("\u2581", "\u2581")]
    vocab = ["a", "b", "\u2581", *("".join(pair) for pair in merges)]
    tokenizer = byte_fallback(vocab, merges)
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    path, notes = convert_json(tokenizer, tmp_path)
    key = "spectralkv.tokenizer.prepend_scheme"
    assert _core.gguf_info(str(path))["metadata"].get(key, "never") == scheme
    assert any(repr(scheme) in note for note in notes) == (scheme != "never")
    own = _core.Tokenizer.from_file(str(path))
    parts = ["", "a", "ab", " a", "  b", " ", "\u2581a", "a b", "<s>", "<|im_start|>", "<|im_end|>", "<think>", "\n"]
    for text in map("".join, itertools.product(parts, repeat=3)):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert own.encode(text.encode(), False, True) == expected, text
    chat = "<s><|im_start|>a\nb b<|im_end|>\n<|im_start|> a<|im_end|>\n<|im_start|>a\n"
    assert own.encode(chat.encode(), False, True) == tokenizer.encode(chat, add_special_tokens=False).ids


def test_whole_words_before_merges_are_refused(tmp_path: Path) -> None:
    """GGUF cannot say it of this kind of tokenizer."""
    tokenizer = byte_fallback(["a", "b", "ab"], [], ignore_merges=True)
    with pytest.raises(ValueError, match="ignore_merges is True, tokenizers with byte fallback have False.*'ab'"):
        convert_json(tokenizer, tmp_path)


def test_unigram_is_refused(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4), model_writer=model, vocab_size=90, minloglevel=2, hard_vocab_limit=False
    )
    folder = folder_for(tmp_path, 400)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    with pytest.raises(ValueError, match="Unigram is not supported"):
        convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)


def by_rank(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Joins the two neighbours whose union has the lowest rank, as tekken does; a piece that is a word stays whole."""
    if piece in ranks:
        return [ranks[piece]]
    parts = [bytes([byte]) for byte in piece]
    while True:
        found = [(ranks[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not found:
            return [ranks[part] for part in parts]
        at = min(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_tekken(tmp_path: Path) -> None:
    """Words from a trained BPE, ranked by when they were merged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split_of(TEKKEN)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    from spectralkv.convert.tekken import byte_alphabet

    bytes_of = {letter: i for i, letter in enumerate(byte_alphabet())}
    merged = sorted((i, text) for text, i in tokenizer.get_vocab().items() if len(text) > 1)
    words = [bytes([i]) for i in range(256)] + [bytes(bytes_of[c] for c in text) for _, text in merged]
    folder = folder_for(tmp_path, len(words) + 10)
    write_tekken(folder / "tekken.json", words, 10)
    write_json(folder / "tokenizer_config.json", {})
    [path] = convert(folder, tmp_path / "v.gguf", VOCAB_ONLY)
    own = core_tokenizer(path)
    ranks = {word: i + 10 for i, word in enumerate(words)}
    for text in TEXTS:
        pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
        expected = [token for piece in pieces for token in by_rank(bytes(bytes_of[c] for c in piece), ranks)]
        assert own.encode(text.encode()) == [1, *expected]
        assert own.decode(own.encode(text.encode())) == text.encode()
