"""A vocabulary on its way into a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from spectralkv.convert.errors import ConvertError

if TYPE_CHECKING:
    from gguf import GGUFWriter

BYTE_LEVEL, BY_SCORE = "gpt2", "llama"  # GGUF's tokenizer.ggml.model: byte-level BPE, merging by score
MOST_UNUSED = 1 << 16  # rows of an embedding without a token, beside as many as there are tokens


class TokenType(IntEnum):
    """GGUF's tokenizer.ggml.token_type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Ids are None where there is none."""

    source: str  # the file, for messages
    model: str  # BYTE_LEVEL or BY_SCORE
    pre: str  # name of the pre-tokenizer; "default" for BY_SCORE
    tokens: tuple[bytes, ...]  # byte-level alphabet for BYTE_LEVEL; special tokens as plain text
    types: tuple[TokenType, ...]
    scores: tuple[float, ...] = ()  # BY_SCORE only
    merges: tuple[str, ...] = ()  # of BY_SCORE, where scores cannot say them
    bos: int | None = None
    eos: int | None = None
    unknown: int | None = None
    padding: int | None = None
    more_eos: tuple[int, ...] = ()  # every id that ends a generation
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = True
    prepend_scheme: str = ""  # of Metaspace, "always" or "first", where that puts the space
    chat_templates: dict[str, str] = field(default_factory=dict)  # by name; "default" is the one
    notes: tuple[str, ...] = ()  # what differs, for the user

    def padded_to(self, n: int) -> Vocabulary:
        """With unused tokens up to the rows of the embedding. ConvertError when there are more tokens than rows, or so
        many rows that this cannot be their tokenizer."""
        have = len(self.tokens)
        if have > n:
            raise ConvertError(
                f"{self.source} has {have} tokens, the embedding only {n} rows: token {n} is {self.tokens[n]!r}"
            )
        if n > 2 * have + MOST_UNUSED:
            raise ConvertError(f"{self.source} has {have} tokens for an embedding of {n} rows: is it another model's?")
        if have == n:
            return self
        return replace(
            self,
            tokens=self.tokens + tuple(f"[PAD{i}]".encode() for i in range(have, n)),
            types=self.types + (TokenType.UNUSED,) * (n - have),
            scores=self.scores + (-1000.0,) * (n - have) if self.scores else (),
            notes=(*self.notes, f"{n - have} rows of the embedding have no token: [PAD{have}] ... are written"),
        )

    def write(self, writer: GGUFWriter) -> None:
        """The tokenizer.* keys."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        if self.scores:
            writer.add_token_scores(self.scores)
        writer.add_token_types([int(kind) for kind in self.types])
        if self.merges:
            writer.add_token_merges(self.merges)
        ids = {
            writer.add_bos_token_id: self.bos,
            writer.add_eos_token_id: self.eos,
            writer.add_unk_token_id: self.unknown,
            writer.add_pad_token_id: self.padding,
        }
        for add, token in ids.items():
            if token is not None:
                add(token)
        if len(self.more_eos) > 1:
            writer.add_array("tokenizer.ggml.eos_token_ids", [int(token) for token in self.more_eos])
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(self.add_eos)
        if self.model == BY_SCORE:
            writer.add_add_space_prefix(self.add_space_prefix)
        if self.prepend_scheme:  # GGUF has no key for it
            writer.add_string("spectralkv.tokenizer.prepend_scheme", self.prepend_scheme)
        self._write_templates(writer)

    def _write_templates(self, writer: GGUFWriter) -> None:
        named = {name: text for name, text in self.chat_templates.items() if name != "default"}
        if "default" in self.chat_templates:
            writer.add_string("tokenizer.chat_template", self.chat_templates["default"])
        if named:
            writer.add_array("tokenizer.chat_templates", sorted(named))
        for name, text in named.items():
            writer.add_string(f"tokenizer.chat_template.{name}", text)
