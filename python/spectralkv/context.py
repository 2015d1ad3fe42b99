"""One model with one context: loading, tokens, evaluation, scores. Llama adds generation."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core

Self = TypeVar("Self", bound="Context")


class Context:
    """A model and its context; the arguments are Llama's."""

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        *,
        n_gpu_layers: int = 0,
        seed: int | None = None,
        n_ctx: int = 512,
        n_batch: int = 512,
        n_threads: int | None = None,
        logits_all: bool = False,
        type_k: str = "default",
        type_v: str = "default",
        activations: str = "q8_0",
        verbose: bool = True,
    ) -> None:
        self.model_path = os.fspath(model_path)
        self._lock = threading.RLock()
        self._seeds = random.Random(seed)
        self._logits_all = logits_all
        self._engine = _core.Engine(
            self.model_path, n_threads=n_threads or 0, n_gpu_layers=n_gpu_layers, activations=activations
        )
        self._tokenizer = self._engine.tokenizer
        self._open_session: _core.Session | None = _core.Session(
            self._engine, n_ctx=n_ctx, n_batch=n_batch, type_k=type_k, type_v=type_v, logits_all=logits_all
        )
        self._n_ctx = self._open_session.n_ctx
        if verbose:
            print(f"model: {self._engine.description}\n{self._cache_line()}", file=sys.stderr)

    # ---- life

    def close(self) -> None:
        """Frees the cache; the weights go with the last reference. Later calls raise ValueError."""
        with self._lock:
            self._open_session = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _session(self) -> _core.Session:
        if self._open_session is None:
            raise ValueError("[python] this Llama is closed")
        return self._open_session

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        with self._lock:
            _ = self._session
            yield

    # ---- facts

    def n_ctx(self) -> int:
        """Tokens that fit into the context."""
        return self._n_ctx

    def n_vocab(self) -> int:
        """Number of tokens in the vocabulary."""
        return self._tokenizer.n_vocab

    def token_bos(self) -> int:
        """Id of the token that begins a text; -1: none."""
        return self._tokenizer.bos

    def token_eos(self) -> int:
        """Id of the token that ends a text; -1: none."""
        return self._tokenizer.eos

    def cache_report(self) -> dict[str, Any]:
        """What the KV cache holds, in bytes and bits per entry; see _core.Session.cache_report."""
        with self._guard():
            return self._session.cache_report()

    def _cache_line(self) -> str:
        report = self.cache_report()
        sides = ", ".join(f"{side.upper()} {report[side]['codec']}" for side in ("k", "v"))
        return (
            f"KV cache: {report['bytes'] / 2**20:.2f} MiB, {report['n_layers']} layers, {self._n_ctx} tokens, {sides}"
        )

    # ---- tokens

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of UTF-8 bytes. add_bos: BOS and EOS where the model wants them; special: parse control tokens."""
        return self._tokenizer.encode(text, add_bos, special)

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens. prev_tokens: what came before (a text's first token may lose the space that `tokenize`
        put in front); special: give the text of control tokens too. ValueError for an id out of range."""
        return self._tokenizer.decode(list(tokens), special, not prev_tokens)

    @property
    def n_tokens(self) -> int:
        """Number of tokens in the context."""
        with self._guard():
            return len(self._session.tokens)

    @property
    def input_ids(self) -> NDArray[np.intc]:
        """The tokens in the context, intc [n_tokens]."""
        with self._guard():
            return np.array(self._session.tokens, dtype=np.intc)

    @property
    def scores(self) -> NDArray[np.float32]:
        """A copy of the logits, float32 [n_tokens, n_vocab]; row i predicts token i + 1. ValueError without
        logits_all=True."""
        with self._guard():
            if not self._logits_all:
                raise ValueError("[python] scores needs Llama(..., logits_all=True)")
            return self._session.all_logits()

    def eval(self, tokens: Sequence[int]) -> None:
        """Appends tokens to the context. ValueError, with nothing changed, when they do not fit or an id is out of
        range."""
        with self._guard():
            self._session.eval(list(tokens))

    def reset(self) -> None:
        """Empties the context."""
        with self._guard():
            self._session.reset()

    def save_state(self, path: str | os.PathLike[str]) -> None:
        """Writes tokens, last logits and cache to a file, atomically: it is whole, old or new, at any time."""
        with self._guard():
            self._session.save_state(os.fspath(path))

    def load_state(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a saved state, with identical logits. ValueError with the reason, and nothing changed, for a
        file of another model, of another cache type, longer than n_ctx, damaged or edited."""
        with self._guard():
            self._session.load_state(os.fspath(path))

    def _read(self, tokens: Sequence[int]) -> None:
        """Makes the context hold exactly `tokens`; the start that it holds already is not computed again."""
        wanted = list(tokens)
        if not wanted:
            raise ValueError("[python] the prompt is empty, and the model has no BOS token to begin with")
        if len(wanted) > self._n_ctx:
            raise ValueError(
                f"[python] the prompt has {len(wanted)} tokens, more than the context of {self._n_ctx} (n_ctx)"
            )
        self._session.eval(wanted[self._session.keep_common(wanted) :])
