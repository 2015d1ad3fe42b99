"""Converted tokenizers give the ids of the libraries that they come from."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from support.hf_checkpoint import edit_json, write_hf, write_json, write_tekken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from spectralkv import _core
from spectralkv.convert import ConvertOptions, convert
from spectralkv.convert.pretokenizers import GPT2, LLAMA3, TEKKEN

TEXTS = [
    "The quick brown fox's 12 dogs can't jump over 34567 lazy cats, can they?",
    "Größe naïve café 東京 привет  two  spaces\ttab\n\nnew line 🙂🚀 a/b//c",
    "def f(x):\n    return x**2 + 1  # comment\n",
    "",
    " leading and trailing ",
    "HTTPServer camelCase XMLHttpRequest1234567890",
]
VOCAB_ONLY = ConvertOptions(vocab_only=True, quiet=True)


def split_of(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


PRE = {
    "gpt-2": (pre_tokenizers.ByteLevel(False), False),
    "gpt-2 as split": (split_of(GPT2), False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]), False),
    "llama-bpe": (split_of(LLAMA3), True),
    "tekken": (split_of(TEKKEN), True),
}


def core_tokenizer(path: Path) -> _core.Tokenizer:
    m = _core.gguf_info(str(path))["metadata"]
    key = "tokenizer.ggml."
    return _core.Tokenizer(
        m[key + "model"],
        [token.encode("utf-8", "surrogateescape") for token in m[key + "tokens"]],
        m.get(key + "scores", []),
        m[key + "token_type"],
        m.get(key + "merges", []),
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
