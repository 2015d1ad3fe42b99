"""One model with one context: loading, tokens, evaluation, scores. Llama adds generation."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core
from spectralkv.arguments import INT32, string, token_ids, whole
from spectralkv.calibrations import Path, open_engine, say
from spectralkv.callers import callers_level

Self = TypeVar("Self", bound="Context")

_alive: weakref.WeakSet[Context] = weakref.WeakSet()


def _after_fork() -> None:
    for context in list(_alive):
        context._after_fork()


os.register_at_fork(after_in_child=_after_fork)


class Context:
    """A model and its context; the arguments are Llama's."""

    def __init__(
        self,
        model_path: Path,
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
        kv_calibration: Path = "auto",
        allow_unknown_pre: bool = False,
        vocab_only: bool = False,
        verbose: bool = True,
    ) -> None:
        self.model_path = os.fsdecode(model_path)
        self._lock = threading.RLock()
        self._closed = "closed"
        self._seeds = random.Random(None if seed is None or seed == -1 else whole("seed", seed))
        self._logits_all = bool(logits_all)
        self._open_session: _core.Session | None = None
        self._n_ctx = 0
        _alive.add(self)
        if vocab_only:
            self._closed = "without weights: vocab_only=True loads the tokenizer alone"
            self._tokenizer = _core.Tokenizer.from_file(self.model_path, allow_unknown_pre=bool(allow_unknown_pre))
            self._warn()
            return
        self._engine = open_engine(
            self.model_path,
            n_threads=0 if n_threads is None else whole("n_threads", n_threads, -INT32, INT32),
            n_gpu_layers=whole("n_gpu_layers", n_gpu_layers, -INT32, INT32),
            allow_unknown_pre=bool(allow_unknown_pre),
            activations=string("activations", activations),
            kv_calibration=kv_calibration,
            notice=say if verbose else None,
        )
        self._tokenizer = self._engine.tokenizer
        self._warn()
        self._open_session = _core.Session(
            self._engine,
            n_ctx=whole("n_ctx", n_ctx),
            n_batch=whole("n_batch", n_batch),
            type_k=string("type_k", type_k),
            type_v=string("type_v", type_v),
            logits_all=self._logits_all,
        )
        self._n_ctx = self._open_session.n_ctx
        trained = int(self._engine.config["context_length"])
        if self._n_ctx > trained:
            message = f"the model was trained for {trained} tokens of context, n_ctx is {self._n_ctx}"
            warnings.warn(message, stacklevel=callers_level())
        if warning := self._engine.cache_warning(string("type_k", type_k), string("type_v", type_v)):
            warnings.warn(warning, stacklevel=callers_level())
        if verbose:
            print(f"model: {self._engine.description}\n{self._open_session.cache_opening}", file=sys.stderr)

    def _warn(self) -> None:
        if self._tokenizer.warning:
            warnings.warn(self._tokenizer.warning, stacklevel=callers_level())

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
            raise ValueError(f"[python] this Llama is {self._closed}")
        return self._open_session

    def _after_fork(self) -> None:
        """In a forked child, before it goes on: a call of another thread, which the child has not, left all half done
        and its lock taken for ever."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._open_session = None
        self._closed = "of no use in this process: it was forked while another thread used it"

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        with self._lock:
            _ = self._session
            yield

    # ---- facts

    def n_ctx(self) -> int:
        """Tokens that fit into the context; 0 with vocab_only."""
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

    # ---- tokens

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of UTF-8 bytes. add_bos: BOS and EOS where the model wants them; special: parse control tokens."""
        if not isinstance(text, (bytes, bytearray)):
            raise TypeError(f"[python] text must be bytes, not {text!r}")
        return self._tokenizer.encode(bytes(text), bool(add_bos), bool(special))

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens. prev_tokens: what came before (a text's first token may lose the space that `tokenize`
        put in front); special: give the text of control tokens too. ValueError for an id out of range."""
        first = prev_tokens is None or len(prev_tokens) == 0
        return self._tokenizer.decode(token_ids("tokens", tokens), bool(special), first)

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
            self._session.eval(token_ids("tokens", tokens))

    def reset(self) -> None:
        """Empties the context."""
        with self._guard():
            self._session.reset()

    def save_state(self, path: Path) -> None:
        """Writes tokens, last logits and cache to a file, atomically: it is whole, old or new, at any time."""
        with self._guard():
            self._session.save_state(path)

    def load_state(self, path: Path) -> None:
        """Goes on from a saved state, with identical logits. ValueError with the reason, and nothing changed, for a
        file of another model, of another cache type, longer than n_ctx, damaged or edited."""
        with self._guard():
            self._session.load_state(path)

    def _read(self, tokens: Sequence[int]) -> None:
        """Makes the context hold exactly `tokens`; the start that it holds already is not computed again."""
        wanted = token_ids("tokens", tokens)
        if not wanted:
            raise ValueError("[python] the prompt is empty, and the model has no BOS token to begin with")
        if len(wanted) > self._n_ctx:
            raise ValueError(
                f"[python] the prompt has {len(wanted)} tokens, more than the context of {self._n_ctx} (n_ctx)"
            )
        self._session.eval(wanted[self._session.keep_common(wanted) :])
