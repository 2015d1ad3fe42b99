"""Saved states in memory, and caches of them that a Llama looks its prompts up in."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralkv import _core

CAPACITY = 2 << 30  # bytes


def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their start."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(np.asarray(a[:n], dtype=np.intc) != np.asarray(b[:n], dtype=np.intc))
    return int(differ[0]) if len(differ) else n


class LlamaState:
    """What a context held: its tokens, and `llama_state`, the bytes of a state file.

    One that a Llama made holds a fork of its cache, which shares the sealed blocks; the bytes are made when they are
    asked for, as pickle does."""

    def __init__(
        self,
        input_ids: NDArray[np.intc],
        scores: NDArray[np.single],
        n_tokens: int,
        llama_state: bytes,
        llama_state_size: int,
        seed: int,
    ) -> None:
        self.input_ids, self.n_tokens, self.seed = input_ids, n_tokens, seed
        self.llama_state_size = llama_state_size
        self.engine: _core.Engine | None = None
        self.session: _core.Session | None = None
        self._scores, self._bytes = scores, llama_state

    @classmethod
    def of_session(cls, engine: _core.Engine, session: _core.Session, options: dict[str, Any], seed: int) -> LlamaState:
        """Forks a session; options: those that it was made with."""
        tokens = np.array(session.tokens, dtype=np.intc)
        fork = _core.Session(engine, **{**options, "n_ctx": max(len(tokens), 1), "n_batch": 1})
        fork.copy_from(session)
        n_bytes = fork.cache_report()["bytes"] + 4 * len(tokens)
        state = cls(tokens, np.empty((0, 0), dtype=np.single), len(tokens), b"", n_bytes, seed)
        state.engine, state.session = engine, fork
        return state

    @property
    def scores(self) -> NDArray[np.single]:
        """The logits of all tokens where the context kept them; else none, [0, 0]."""
        if self.session is not None:
            with contextlib.suppress(ValueError):  # without logits_all
                return self.session.all_logits()
        return self._scores

    @property
    def llama_state(self) -> bytes:
        """The bytes of a state file."""
        if self.session is None:
            return self._bytes
        with tempfile.TemporaryDirectory(prefix="spectralkv-state-") as folder:
            path = os.path.join(folder, "state")
            self.session.save_state(path)
            with open(path, "rb") as file:
                return file.read()

    def load_into(self, engine: _core.Engine, session: _core.Session) -> None:
        """ValueError, with nothing changed, where it does not fit."""
        if self.session is not None and self.engine is engine:
            session.copy_from(self.session)
            return
        with tempfile.TemporaryDirectory(prefix="spectralkv-state-") as folder:
            path = os.path.join(folder, "state")
            with open(path, "wb") as file:
                file.write(self.llama_state)
            session.load_state(path)

    def __reduce__(self) -> tuple[Any, ...]:
        data = self.llama_state
        return (LlamaState, (self.input_ids, self.scores, self.n_tokens, data, len(data), self.seed))


class BaseLlamaCache(abc.ABC):
    """States by the tokens that they hold: asked for a prompt, a cache gives the one that shares most of its start."""

    def __init__(self, capacity_bytes: int = CAPACITY) -> None:
        self.capacity_bytes = capacity_bytes

    @property
    @abc.abstractmethod
    def cache_size(self) -> int:
        """Bytes that the states take."""

    @abc.abstractmethod
    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        """KeyError where no state shares a token."""

    @abc.abstractmethod
    def __contains__(self, key: Sequence[int]) -> bool: ...

    @abc.abstractmethod
    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None: ...


def _best(keys: Sequence[tuple[int, ...]], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """The key that shares most; of equals the shortest, which holds the logits behind what is shared."""
    shared = [(longest_token_prefix(key, wanted), -len(key), key) for key in keys if key[:1] == wanted[:1]]
    best = max(shared, key=lambda entry: entry[:2], default=(0, 0, None))
    return best[2] if best[0] > 0 else None


class LlamaRAMCache(BaseLlamaCache):
    """States in memory; the one that was used longest ago goes when they take more than capacity_bytes together."""

    def __init__(self, capacity_bytes: int = CAPACITY) -> None:
        super().__init__(capacity_bytes)
        self.cache_state: OrderedDict[tuple[int, ...], LlamaState] = OrderedDict()

    @property
    def cache_size(self) -> int:
        """As if nothing were shared."""
        return sum(state.llama_state_size for state in self.cache_state.values())

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        found = _best(list(self.cache_state), tuple(key))
        if found is None:
            raise KeyError("no state begins so")
        self.cache_state.move_to_end(found)
        return self.cache_state[found]

    def __contains__(self, key: Sequence[int]) -> bool:
        return _best(list(self.cache_state), tuple(key)) is not None

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        self.cache_state.pop(tuple(key), None)
        self.cache_state[tuple(key)] = value
        while self.cache_state and self.cache_size > self.capacity_bytes:
            self.cache_state.popitem(last=False)


LlamaCache = LlamaRAMCache


class LlamaDiskCache(BaseLlamaCache):
    """States in a folder, two files each: NAME.tokens (int32) and NAME.state; of any number of programs."""

    def __init__(self, cache_dir: str = ".cache/llama_cache", capacity_bytes: int = CAPACITY) -> None:
        super().__init__(capacity_bytes)
        self.cache_dir = os.fspath(cache_dir)
        os.makedirs(self.cache_dir, exist_ok=True)

    def _path(self, name: str, kind: str) -> str:
        return os.path.join(self.cache_dir, f"{name}.{kind}")

    def _names(self) -> list[str]:
        ends = [entry.rpartition(".") for entry in os.listdir(self.cache_dir)]
        kinds = {kind: {name for name, _, k in ends if k == kind} for kind in ("tokens", "state")}
        return sorted(kinds["tokens"] & kinds["state"])

    def _keys(self) -> dict[tuple[int, ...], str]:
        keys = {}
        for name in self._names():
            with contextlib.suppress(OSError, ValueError):  # another program has removed it
                keys[tuple(np.fromfile(self._path(name, "tokens"), dtype=np.int32).tolist())] = name
        return keys

    @property
    def cache_size(self) -> int:
        """Of the files that hold states."""
        total = 0
        for name in self._names():
            with contextlib.suppress(OSError):
                total += os.path.getsize(self._path(name, "state"))
        return total

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        keys = self._keys()
        if (found := _best(list(keys), tuple(key))) is None:
            raise KeyError("no state begins so")
        path = self._path(keys[found], "state")
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.utime(path)
        except OSError as error:
            raise KeyError("its state is gone") from error
        ids = np.array(found, dtype=np.intc)
        return LlamaState(ids, np.empty((0, 0), dtype=np.single), len(ids), data, len(data), 0)

    def __contains__(self, key: Sequence[int]) -> bool:
        return _best(list(self._keys()), tuple(key)) is not None

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        ids = np.array(key, dtype=np.int32)
        name = hashlib.sha256(ids.tobytes()).hexdigest()[:32]
        self._write(self._path(name, "state"), value.llama_state)
        self._write(self._path(name, "tokens"), ids.tobytes())
        while (over := self._names()) and self.cache_size > self.capacity_bytes:
            self._remove(min(over, key=self._last_use))

    def _last_use(self, name: str) -> float:
        with contextlib.suppress(OSError):
            return os.path.getmtime(self._path(name, "state"))
        return 0.0

    def _remove(self, name: str) -> None:
        for kind in ("tokens", "state"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._path(name, kind))

    def _write(self, path: str, data: bytes) -> None:
        descriptor, draft = tempfile.mkstemp(dir=self.cache_dir, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(draft)
            raise
