"""Constrained output: grammars, expressions and JSON schemas made into masks of tokens by llguidance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from spectralkv import _core
from spectralkv.extras import install_hint

# One break and an indentation between the parts of JSON: with any number, small models write blanks for ever.
JSON_OPTIONS = {"whitespace_pattern": r"[ ]|\n[ \t]{0,20}"}
LONGEST = 1 << 20  # characters of a grammar
Masks = Callable[[int], bytes]  # what _core.Generation takes as `allowed`


class LlamaGrammar:
    """What output must be; the class of that name of llama-cpp-python, with expressions and Lark besides.

    Nothing is compiled before it meets a vocabulary: what is wrong in it is told by the call that uses it."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text

    @classmethod
    def from_string(cls, grammar: str, verbose: bool = True) -> LlamaGrammar:
        """A grammar in GBNF (root ::= ...) or in llguidance's Lark (start: ...)."""
        return cls("gbnf", _text("grammar", grammar))

    @classmethod
    def from_file(cls, file: Any, verbose: bool = True) -> LlamaGrammar:
        """The same, of a file."""
        with open(file, encoding="utf-8") as stream:
            return cls.from_string(stream.read())

    @classmethod
    def from_json_schema(cls, json_schema: str | Mapping[str, Any] | bool, verbose: bool = True) -> LlamaGrammar:
        """JSON that follows a schema; {} or true: any JSON."""
        if isinstance(json_schema, str):
            try:
                json_schema = json.loads(_text("json_schema", json_schema))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"[grammar] the JSON schema is no JSON: {error}") from None
        if not isinstance(json_schema, (Mapping, bool)):
            raise ValueError(f"[grammar] a JSON schema must be an object, not {type(json_schema).__name__}")
        try:
            return cls("json_schema", _text("json_schema", json.dumps(json_schema)))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"[grammar] the JSON schema is no JSON: {error}") from None

    @classmethod
    def from_regex(cls, regex: str) -> LlamaGrammar:
        """A text that the whole of an expression matches (the syntax of Rust's regex, without look-around)."""
        return cls("regex", _text("regex", regex))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"[grammar] {name} must be a str, not {value!r}")
    if len(value) > LONGEST:
        raise ValueError(f"[grammar] {name} has {len(value)} characters, more than {LONGEST}")
    return value


class _Pieces:
    """Our vocabulary as llguidance takes one: the bytes of each token, those that are no text, and a tokenizer."""

    def __init__(self, tokenizer: _core.Tokenizer) -> None:
        self._tokenizer = tokenizer
        ids = range(tokenizer.n_vocab)
        self.special_token_ids = [i for i in ids if tokenizer.is_control(i) or tokenizer.is_end(i)]
        special = set(self.special_token_ids)
        self.tokens = [tokenizer.piece(i, i in special) for i in ids]
        self.bos_token_id = tokenizer.bos if tokenizer.bos >= 0 else None
        self.end_token_ids = [i for i in ids if tokenizer.is_end(i)]
        self.eos_token_id = self.end_token_ids[0] if self.end_token_ids else -1
        self._ids = {piece: i for i, piece in enumerate(self.tokens) if piece and i not in special}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes) -> list[int]:
        ids = self._tokenizer.encode(text, False, False)
        # Where the tokenizer adds a space or drops a byte, its tokens are not this text's.
        return ids if b"".join(self.tokens[i] for i in ids) == text else self._longest_first(text)

    def _longest_first(self, text: bytes) -> list[int]:
        ids, at = [], 0
        while at < len(text):
            for n in range(min(self._longest, len(text) - at), 0, -1):
                if (found := self._ids.get(text[at : at + n])) is not None:
                    ids.append(found)
                    at += n
                    break
            else:
                break  # no token has this byte
        return ids


class Vocabulary:
    """A tokenizer prepared for grammars: about a second for 100 000 tokens, once for a model."""

    def __init__(self, tokenizer: _core.Tokenizer) -> None:
        try:
            import llguidance
        except ImportError as error:
            raise ValueError(f"[grammar] constrained output needs llguidance: {install_hint('grammar')}") from error
        pieces = _Pieces(tokenizer)
        if not pieces.end_token_ids:
            raise ValueError("[grammar] the model has no end token, so constrained output could not end")
        self._llguidance: Any = llguidance
        self._tokens = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(pieces), n_vocab=tokenizer.n_vocab, eos_token=pieces.end_token_ids
        )
        self._n_bytes = (tokenizer.n_vocab + 31) // 32 * 4
        self._limits = llguidance.LLParserLimits(verbose_errors=False)

    def masks(self, grammar: LlamaGrammar) -> Masks:
        """The masks of one answer. ValueError for a grammar that is wrong, empty or too complex."""
        try:
            compiled = self._compile(grammar)
        except Exception as error:  # whatever its parsers raise
            raise ValueError(f"[grammar] {_name(grammar)}: {error}") from None
        matcher = self._llguidance.LLMatcher(self._tokens, compiled, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise ValueError(f"[grammar] {_name(grammar)}: {_first_lines(matcher.get_error())}")
        return _Matcher(matcher, self._n_bytes)

    def _compile(self, grammar: LlamaGrammar) -> str:
        matcher = self._llguidance.LLMatcher
        if grammar.kind == "json_schema":
            schema: str = matcher.grammar_from_json_schema(grammar.text, defaults=JSON_OPTIONS)
            return schema
        if grammar.kind == "regex":
            expression: str = matcher.grammar_from_regex(grammar.text)
            return expression
        if not grammar.text.strip():
            raise ValueError("it is empty")
        rules: str = self._llguidance.grammar_from("gbnf", grammar.text)
        return rules


class _Matcher:
    def __init__(self, matcher: Any, n_bytes: int) -> None:
        self._matcher, self._n_bytes = matcher, n_bytes

    def __call__(self, last: int) -> bytes:
        if last >= 0:
            self._matcher.consume_token(last)
        mask: bytes = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise ValueError(f"[grammar] it cannot be followed further: {_first_lines(self._matcher.get_error())}")
        return mask[: self._n_bytes]  # llguidance may give a word more than the vocabulary needs


def _name(grammar: LlamaGrammar) -> str:
    return {"json_schema": "the JSON schema", "regex": "the expression"}.get(grammar.kind, "the grammar")


def _first_lines(message: str) -> str:
    return " ".join(message.split())[:500]


def as_grammar(grammar: Any) -> LlamaGrammar | None:
    """The argument `grammar`: None, a LlamaGrammar, or the text of one."""
    if grammar is None or isinstance(grammar, LlamaGrammar):
        return grammar
    if isinstance(grammar, str):
        return LlamaGrammar.from_string(grammar)
    raise TypeError(f"[python] grammar must be a LlamaGrammar or its text, not {grammar!r}")


def of_response_format(response_format: Any) -> LlamaGrammar | None:
    """What OpenAI's response_format asks for, and llama-cpp-python's {"type": "json_object", "schema": ...}."""
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping) or not isinstance(response_format.get("type"), str):
        raise ValueError('[python] response_format must be a dict like {"type": "json_object"}')
    kind = response_format["type"]
    if kind == "text":
        return None
    if kind == "json_object":
        return LlamaGrammar.from_json_schema(response_format.get("schema") or {"type": "object"})
    if kind == "json_schema":
        given = response_format.get("json_schema")
        schema = given.get("schema") if isinstance(given, Mapping) else response_format.get("schema")
        if schema is None:
            raise ValueError('[python] response_format needs {"json_schema": {"schema": ...}}')
        return LlamaGrammar.from_json_schema(schema)
    raise ValueError(f"[python] response_format.type must be text, json_object or json_schema, not {kind!r}")


def of_option(option: str, text: str, tokenizer: _core.Tokenizer) -> Masks:
    """What `spectralkv run` was told by --grammar or --json-schema, for one answer."""
    make = LlamaGrammar.from_json_schema if option == "--json-schema" else LlamaGrammar.from_string
    return Vocabulary(tokenizer).masks(make(text))
