"""One model with one context: loading, tokens, evaluation, scores. Llama adds generation."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core
from spectralkv import llama_options as options
from spectralkv.arguments import INT32, string, token_ids, whole
from spectralkv.calibrations import Path, open_engine, say
from spectralkv.callers import callers_level
from spectralkv.chat_formats import named
from spectralkv.llama_options import ANY_SEED
from spectralkv.states import LlamaState, longest_token_prefix
from spectralkv.tokenizers import BaseLlamaTokenizer

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
        split_mode: int = 1,
        main_gpu: int = 0,
        tensor_split: Sequence[float] | None = None,
        vocab_only: bool = False,
        use_mmap: bool = True,
        use_mlock: bool = False,
        kv_overrides: Mapping[str, bool | int | float | str] | None = None,
        seed: int | None = ANY_SEED,
        n_ctx: int = 512,
        n_batch: int = 512,
        n_ubatch: int = 512,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        rope_scaling_type: int | None = -1,
        pooling_type: int = -1,
        attention_type: int = -1,
        rope_freq_base: float = 0.0,
        rope_freq_scale: float = 0.0,
        yarn_ext_factor: float = -1.0,
        yarn_attn_factor: float = 1.0,
        yarn_beta_fast: float = 32.0,
        yarn_beta_slow: float = 1.0,
        yarn_orig_ctx: int = 0,
        logits_all: bool = False,
        embedding: bool = False,
        offload_kqv: bool = True,
        flash_attn: bool = False,
        op_offload: bool | None = None,
        swa_full: bool | None = None,
        no_perf: bool = False,
        last_n_tokens_size: int = 64,
        lora_base: Path | None = None,
        lora_scale: float = 1.0,
        lora_path: Path | None = None,
        numa: bool | int = False,
        chat_format: str | None = None,
        chat_handler: Callable[..., Any] | None = None,
        draft_model: Any = None,
        tokenizer: BaseLlamaTokenizer | None = None,
        type_k: int | str | None = None,
        type_v: int | str | None = None,
        spm_infill: bool = False,
        verbose: bool = True,
        activations: str = "q8_0",
        kv_calibration: Path = "auto",
        allow_unknown_pre: bool = False,
    ) -> None:
        self._given: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        self.model_path = os.fsdecode(model_path)
        self.verbose = bool(verbose)
        self._lock = threading.RLock()
        self._closed = "closed"
        self.set_seed(seed)
        self._logits_all = bool(logits_all)
        self._open_session: _core.Session | None = None
        self._n_ctx = 0
        options.refuse(self._given)
        self._overrides = options.overrides_of(self._given, self._file_metadata)
        self._pooling = options.pooling_of(pooling_type)
        self.last_n_tokens_size = whole("last_n_tokens_size", last_n_tokens_size, -1, INT32)
        self.chat_format = chat_format
        self.chat_handler = chat_handler
        self._chat = None if chat_format is None else named(string("chat_format", chat_format))
        self.tokenizer_ = tokenizer
        self.spm_infill = bool(spm_infill)
        _alive.add(self)
        if vocab_only:
            self._closed = "without weights: vocab_only=True loads the tokenizer alone"
            self._tokenizer = _core.Tokenizer.from_file(
                self.model_path, allow_unknown_pre=bool(allow_unknown_pre), overrides=self._overrides
            )
            self._warn()
            return
        self._engine = self._open(whole("n_gpu_layers", n_gpu_layers, -INT32, INT32))
        self._tokenizer = self._engine.tokenizer
        self._warn()
        self._session_options: dict[str, Any] = {
            "n_ctx": whole("n_ctx", n_ctx),
            "n_batch": min(whole("n_batch", n_batch), whole("n_ubatch", n_ubatch)),
            "type_k": options.cache_type("type_k", type_k),
            "type_v": options.cache_type("type_v", type_v),
            "logits_all": self._logits_all,
        }
        self._open_session = _core.Session(self._engine, **self._session_options)
        self._n_ctx = self._open_session.n_ctx
        trained = int(self._engine.config["context_length"])
        if self._n_ctx > trained:
            message = f"the model was trained for {trained} tokens of context, n_ctx is {self._n_ctx}"
            warnings.warn(message, stacklevel=callers_level())
        if warning := self._engine.cache_warning(self._session_options["type_k"], self._session_options["type_v"]):
            warnings.warn(warning, stacklevel=callers_level())
        if verbose:
            print(f"model: {self._engine.description}\n{self._open_session.cache_opening}", file=sys.stderr)

    def _open(self, n_gpu_layers: int) -> _core.Engine:
        """The model; on the CPU, with a warning, where there is no GPU, unless its library was named."""
        given = self._given
        try:
            return open_engine(
                self.model_path,
                n_threads=options.n_threads_of(given),
                n_gpu_layers=n_gpu_layers,
                allow_unknown_pre=bool(given["allow_unknown_pre"]),
                activations=string("activations", given["activations"]),
                kv_calibration=given["kv_calibration"],
                notice=say if self.verbose else None,
                overrides=self._overrides,
            )
        except ValueError as error:
            wants_cpu = n_gpu_layers != 0 and "n_gpu_layers=0" in str(error)  # the error's own way out
            if not wants_cpu or os.environ.get("SPECTRALKV_CUDA_LIBRARY"):
                raise
            warnings.warn(
                f"n_gpu_layers={n_gpu_layers}: everything runs on the CPU: {error}", stacklevel=callers_level()
            )
        return self._open(0)

    def __getstate__(self) -> dict[str, Any]:
        """The arguments: what is unpickled loads the file again, and has an empty context."""
        return self._given

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _warn(self) -> None:
        options.warn_without_effect(self._given)
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

    def token_nl(self) -> int:
        """Id of the token of a line's end; -1: none."""
        return (self._tokenizer.encode(b"\n", False, False) or [-1])[-1]

    def n_embd(self) -> int:
        """Numbers in a hidden state, which an embedding has; 0 with vocab_only."""
        return 0 if self._n_ctx == 0 else int(self._engine.config["n_embd"])

    def pooling_type(self) -> int:
        """What `embed` makes of a text's hidden states: 0 (none), 1 (mean), 2 (cls) or 3 (last)."""
        return max(int(self._given["pooling_type"]), 0)

    def _file_metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = _core.gguf_info(self.model_path, any_type=True)["metadata"]
        return metadata

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's metadata but for arrays, as texts; numbers as C writes them."""
        texts = {}
        for key, value in {**self._file_metadata(), **dict(self._overrides)}.items():
            if isinstance(value, bool):
                texts[key] = str(value).lower()
            elif not isinstance(value, list):
                texts[key] = f"{value:.6f}" if isinstance(value, float) else str(value)
        return texts

    longest_token_prefix = staticmethod(longest_token_prefix)

    def cache_report(self) -> dict[str, Any]:
        """What the KV cache holds, in bytes and bits per entry; see _core.Session.cache_report."""
        with self._guard():
            return self._session.cache_report()

    # ---- tokens

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of UTF-8 bytes. add_bos: BOS and EOS where the model wants them; special: parse control tokens."""
        if not isinstance(text, (bytes, bytearray)):
            raise TypeError(f"[python] text must be bytes, not {text!r}")
        if self.tokenizer_ is not None:
            return token_ids("tokens", self.tokenizer_.tokenize(bytes(text), bool(add_bos), bool(special)))
        return self._tokenizer.encode(bytes(text), bool(add_bos), bool(special))

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens. prev_tokens: what came before (a text's first token may lose the space that `tokenize`
        put in front); special: give the text of control tokens too. ValueError for an id out of range."""
        if self.tokenizer_ is not None:
            return self.tokenizer_.detokenize(token_ids("tokens", tokens), prev_tokens, bool(special))
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

    @property
    def eval_tokens(self) -> deque[int]:
        """The tokens in the context."""
        return deque(self.input_ids.tolist(), maxlen=self._n_ctx)

    @property
    def eval_logits(self) -> deque[list[float]]:
        """The logits of all tokens with logits_all=True, else those of the last one."""
        with self._guard():
            rows = self._session.all_logits() if self._logits_all else self._session.logits()[None, :]
            return deque(rows.tolist(), maxlen=self._n_ctx if self._logits_all else 1)

    def set_seed(self, seed: int | None) -> None:
        """The seed of the calls that give none; None, -1 and 4294967295 draw one."""
        self._seeds = random.Random(options.seed_of(seed))

    @overload
    def save_state(self) -> LlamaState: ...
    @overload
    def save_state(self, path: Path) -> None: ...
    def save_state(self, path: Path | None = None) -> LlamaState | None:
        """What the context holds, tokens, last logits and cache: as an object, or written to a file, atomically: that
        is whole, old or new, at any time."""
        with self._guard():
            if path is not None:
                self._session.save_state(path)
                return None
            seed = self._given["seed"]
            return LlamaState.of_session(
                self._engine, self._session, self._session_options, ANY_SEED if seed is None else seed
            )

    def load_state(self, state: LlamaState | Path) -> None:
        """Goes on from a saved state, an object or a file, with identical logits. ValueError with the reason, and
        nothing changed, for one of another model, of another cache type, longer than n_ctx, damaged or edited."""
        with self._guard():
            if isinstance(state, LlamaState):
                state.load_into(self._engine, self._session)
            else:
                self._session.load_state(state)

    def _read(self, tokens: Sequence[int]) -> int:
        """Makes the context hold exactly `tokens`; the start that it holds already is not computed again. Gives the
        number of those that were."""
        wanted = token_ids("tokens", tokens)
        if not wanted:
            raise ValueError("[python] the prompt is empty, and the model has no BOS token to begin with")
        if len(wanted) > self._n_ctx:
            raise ValueError(
                f"[python] the prompt has {len(wanted)} tokens, more than the context of {self._n_ctx} (n_ctx)"
            )
        rest = wanted[self._session.keep_common(wanted) :]
        self._session.eval(rest)
        return len(rest)
