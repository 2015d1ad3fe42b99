"""SpectralCache: a cache for models of the `transformers` library that keeps keys and values in this project's codecs.

It is there to judge cache types on any model that `transformers` runs: the codecs are the engine's own, on the CPU, but
attention is the model's and gets dense keys and values, one layer at a time. Memory between two forward passes is that
of the compressed cache; time a token grows with the context.

What a query reads. One call of the model gives one K and V for all its queries, so they all read what the first of them
does (cpp/kv/VOCABULARY.md): the blocks that are sealed for it decoded, everything behind those exactly, rounded to f16
as the engine does. From this follows
  - a call with one token: the engine's meaning, exactly;
  - a whole prompt in one call: it is read with the exact cache, and compressed for the calls after it (the prefix
    protocol of `spectralkv perplexity`);
  - a prompt in pieces that end where blocks seal: the engine's meaning again. `SpectralCache.pieces` gives such pieces;
    for the default type `generate(..., prefill_chunk_size=128)` cuts at the same places.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from spectralkv.extras import install_hint

try:
    import torch
    from transformers.cache_utils import Cache, CacheLayerMixin
except ImportError as error:
    raise ImportError(
        f"spectralkv.hf needs torch and transformers 4.56 or later: {install_hint('hf')} ({error})"
    ) from error

from spectralkv import _core
from spectralkv.hf_report import sum_reports

# What a layer of the model may be for its cache to be ours; the mask of the model does the rest.
ATTENTIONS = {"full_attention", "sliding_attention", "chunked_attention"}
# Later versions of the library name tokens to remove, as a negative number; earlier ones the length to keep.
_CROP_COUNTS_REMOVED = "tokens_to_remove" in inspect.signature(Cache.crop).parameters


def _rows(tensor: Any) -> Any:
    """A float32 array [batch, n_kv_heads, n, head_dim] on the CPU, without a copy where that is possible."""
    return tensor.detach().to(device="cpu", dtype=torch.float32).numpy()


def _to_pairs(k: Any) -> Any:
    """Dimensions i and i + d/2 of the last axis, which RoPE turns together, side by side: the order of GGUF files."""
    return np.ascontiguousarray(k.reshape(*k.shape[:-1], 2, -1).swapaxes(-1, -2)).reshape(k.shape)


def _from_pairs(k: Any) -> Any:
    return np.ascontiguousarray(k.reshape(*k.shape[:-1], -1, 2).swapaxes(-1, -2)).reshape(k.shape)


def _like(array: Any, tensor: Any) -> Any:
    return torch.from_numpy(array).to(device=tensor.device, dtype=tensor.dtype)


class SpectralLayer(CacheLayerMixin):
    """Keys and values of one layer. Made by SpectralCache; the library calls its methods."""

    is_sliding = False
    is_compileable = False
    is_croppable = False  # not to any length

    def __init__(
        self,
        workers: _core.Workers,
        layer: int,
        n_layers: int,
        type_k: str,
        type_v: str,
        padding: list[int],
        pairs: bool,
        calibrated: _core.CalibratedFormat | None,
    ) -> None:
        super().__init__()
        self._pairs = pairs
        self._calibrated = calibrated
        self._workers, self._layer, self._n_layers = workers, layer, n_layers
        self._types = (type_k, type_v)
        self._padding = padding
        self._held: _core.LayerBatch | None = None

    def batch(self, n_sequences: int, n_kv_heads: int, head_dim: int, padding: Sequence[int] = ()) -> _core.LayerBatch:
        """An empty store for this layer. ValueError for a cache type that is wrong or does not take head_dim."""
        return _core.LayerBatch(
            self._workers,
            layer=self._layer,
            n_layers=self._n_layers,
            n_sequences=n_sequences,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            type_k=self._types[0],
            type_v=self._types[1],
            padding=list(padding),
            calibrated=self._calibrated,
        )

    def lazy_initialization(self, key_states: Any, value_states: Any = None) -> None:
        """Makes the store for keys [batch, n_kv_heads, n, head_dim]; ValueError where values have another shape."""
        if value_states is not None and value_states.shape != key_states.shape:
            raise ValueError(
                f"[hf] layer {self._layer}: keys are {list(key_states.shape)}, values {list(value_states.shape)}; "
                "only attention with keys and values of one shape is supported"
            )
        n_sequences, n_kv_heads, _, head_dim = key_states.shape
        if self._padding and len(self._padding) != n_sequences:
            raise ValueError(
                f"[hf] the attention mask has {len(self._padding)} rows, the batch {n_sequences}: with beams or "
                "several answers a prompt, give each its row"
            )
        self._held = self.batch(n_sequences, n_kv_heads, head_dim, self._padding)
        self.device, self.is_initialized = key_states.device, True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Takes keys and values [batch, n_kv_heads, n, head_dim] of the next n positions and gives dense ones of all
        positions, in the same type and on the same device: what the first of the new positions reads. No gradient
        passes. ValueError, with nothing changed, for another shape and for values that are not finite or beyond f16."""
        if self._held is None:
            self.lazy_initialization(key_states, value_states)
        assert self._held is not None
        k, v = _rows(key_states), _rows(value_states)
        k, v = self._held.extend(_to_pairs(k) if self._pairs else k, v)
        return _like(_from_pairs(k) if self._pairs else k, key_states), _like(v, value_states)

    def get_seq_length(self) -> int:
        """Positions so far, padding included."""
        return 0 if self._held is None else self._held.n_positions

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        """Length and first position of what `update` will give for so many queries (or their positions, a tensor)."""
        n = query_length if isinstance(query_length, int) else query_length.shape[0]
        return self.get_seq_length() + n, 0

    def get_max_length(self) -> int:
        """-1: no maximum."""
        return -1

    get_max_cache_shape = get_max_length  # its name in earlier versions of the library

    def offload(self) -> None:
        """Nothing: the store is on the CPU."""

    prefetch = offload

    def reset(self) -> None:
        """Forgets all positions; another batch size may follow, with the same padding."""
        self._held, self.is_initialized = None, False

    def length_after_crop(self, argument: int) -> int:
        """Positions that `crop(argument)` keeps, as the library at hand understands its argument."""
        length = self.get_seq_length()
        if argument > 0 and _CROP_COUNTS_REMOVED:
            raise ValueError(f"[hf] crop({argument}): give the tokens to remove, as a negative number")
        if argument < 0 or _CROP_COUNTS_REMOVED:
            return max(0, length + argument)
        return min(argument, length)

    def nearest_below(self, n: int) -> int:
        """The largest length up to n that the store can go back to."""
        return n if self._held is None else self._held.nearest_below(n)

    def crop(self, argument: int) -> None:
        """Cuts back, as the library's own caches do. ValueError where a block is sealed over that place."""
        if self._held is not None:
            self._held.truncate(self.length_after_crop(argument))

    def _select(self, indices: Sequence[int]) -> None:
        if self._held is not None:
            self._held = self._held.select(list(indices))
        if self._padding:
            self._padding = [self._padding[i] for i in indices]

    def reorder_cache(self, beam_idx: Any) -> None:
        """Sequence i becomes a copy of sequence beam_idx[i]."""
        self._select(beam_idx.tolist())

    def batch_select_indices(self, indices: Any) -> None:
        """Keeps copies of these sequences; indices: ids or a mask, [batch]."""
        kept = torch.as_tensor(indices)
        self._select((kept.nonzero().flatten() if kept.dtype == torch.bool else kept).tolist())

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each sequence becomes `repeats` equal ones, side by side."""
        n = self._held.n_sequences if self._held is not None else len(self._padding)
        self._select([i for i in range(n) for _ in range(repeats)])

    def read(self) -> tuple[Any, Any]:
        """K and V of all positions as the token that comes next reads them, float32 tensors [batch, n_kv_heads,
        n, head_dim]. ValueError before the first update."""
        if self._held is None:
            raise ValueError(f"[hf] layer {self._layer} holds nothing yet")
        k, v = self._held.read()
        return torch.from_numpy(_from_pairs(k) if self._pairs else k), torch.from_numpy(v)

    def reports(self) -> list[dict[str, Any]]:
        """What each sequence holds, as Session.cache_report gives it; empty before the first update."""
        return [] if self._held is None else self._held.reports()

    def __deepcopy__(self, memo: dict[int, Any]) -> SpectralLayer:
        copy = SpectralLayer(
            self._workers,
            self._layer,
            self._n_layers,
            *self._types,
            list(self._padding),
            self._pairs,
            self._calibrated,
        )
        if self._held is not None:
            copy._held = self._held.select(range(self._held.n_sequences))
            copy.device, copy.is_initialized = self.device, True
        return copy


def _rule(batch: _core.LayerBatch) -> Callable[[int], int]:
    """The batch's sealing rule as a plain function, which copy.deepcopy keeps as it is."""
    return lambda position: batch.sealed_for(position)


def left_padding(attention_mask: Any) -> list[int]:
    """How many positions in front of each row [batch, n] are masked. ValueError when masked ones stand elsewhere."""
    mask = np.asarray(torch.as_tensor(attention_mask).cpu()) != 0
    if mask.ndim != 2:
        raise ValueError(f"[hf] the attention mask must be [batch, n], not of {mask.ndim} dimensions")
    for i, row in enumerate(mask):
        if (np.diff(row.astype(np.int8)) < 0).any():
            raise ValueError(f"[hf] row {i} of the attention mask is 0 behind a 1: pad on the left")
    return [int(n) for n in (~mask).sum(axis=1)]


class SpectralCache(Cache):
    """A cache for `model(..., past_key_values=cache)` and `model.generate(..., past_key_values=cache)`; later versions
    of the library call the argument `cache`.

    config: the model's. type_k, type_v: cache types as everywhere, layer ranges included: "eoptshrinkq:2" (what
    "default" means), "turboquant:3", "f16", "eoptshrinkq:2;layers 0-1=q8_0". attention_mask: [batch, n], for prompts
    that are padded on the left; without it every position counts as a token, and the first sequence's padding would
    become its sinks. n_threads: that encode and decode, 0 for one a core (torch has threads of its own). pairs:
    give the codecs the dimensions of keys that RoPE turns together, i and i + head_dim/2, side by side, as the engine
    has them (a rotation or a group of 32 is another one in another order); None: where head_dim is even. calibration: a
    file of `spectralkv calibrate`, made of the same model as GGUF; None: all heads are alike.

    Batches, beam search and copy.deepcopy work. `crop` goes back as far as the newest block that is sealed and refuses
    other lengths with a ValueError that names the nearest; so assisted decoding is refused (`is_croppable`). ValueError
    for models with layers that are no softmax attention, for cache types that are wrong or do not take the model's head
    dim, and for a calibration of a model of another shape. The module says what a query reads.
    """

    def __init__(
        self,
        config: Any,
        type_k: str = "default",
        type_v: str = "default",
        *,
        attention_mask: Any = None,
        pairs: bool | None = None,
        calibration: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        n_threads: int = 1,
    ) -> None:
        decoder = config.get_text_config(decoder=True)
        n_layers = int(decoder.num_hidden_layers)
        for i, kind in enumerate(getattr(decoder, "layer_types", None) or ()):
            if kind not in ATTENTIONS:
                raise ValueError(f"[hf] layer {i} of the model is {kind!r}: only {', '.join(sorted(ATTENTIONS))} work")
        self._head_dim = int(getattr(decoder, "head_dim", None) or decoder.hidden_size // decoder.num_attention_heads)
        padding = [] if attention_mask is None else left_padding(attention_mask)
        workers = _core.Workers(n_threads)
        if pairs is None:
            pairs = self._head_dim % 2 == 0
        elif pairs and self._head_dim % 2:
            raise ValueError(f"[hf] pairs: a head dim of {self._head_dim} has no pairs")
        calibrated, n_kv_heads = None, 1
        if calibration is not None:
            calibrated = _core.CalibratedFormat(calibration, type_k=type_k, type_v=type_v)
            if not pairs:
                raise ValueError("[hf] a calibration is of keys in pairs, as pairs=True gives them")
            n_kv_heads = calibrated.shape[1]
        layers = [
            SpectralLayer(workers, i, n_layers, type_k, type_v, list(padding), pairs, calibrated)
            for i in range(n_layers)
        ]
        empty = {(batch := layer.batch(1, n_kv_heads, self._head_dim)).layout: batch for layer in layers}
        self._rules = [_rule(batch) for batch in empty.values()]
        self._shifts = sorted(set(padding)) or [0]
        super().__init__(layers=layers)

    def pieces(self, n: int) -> Iterator[slice]:
        """Cuts the next n positions where blocks seal, in any layer: a prompt that the model reads piece by piece sees
        what it would see token by token."""
        start, begin = self.get_seq_length(), 0
        for at in range(1, n):
            if self._seals_at(start + at):
                yield slice(begin, at)
                begin = at
        if begin < n:
            yield slice(begin, n)

    def _seals_at(self, position: int) -> bool:
        """Whether the query at this position reads a block as sealed that the one before it did not."""
        return any(
            position > shift and sealed_for(position - shift) > sealed_for(position - shift - 1)
            for shift in self._shifts
            for sealed_for in self._rules
        )

    def crop(self, argument: int) -> None:
        """Cuts all layers back, or none: ValueError names the nearest length below that all can go back to."""
        wanted = self.layers[0].length_after_crop(argument)
        nearest, before = wanted, -1
        while nearest != before:
            before = nearest
            for layer in self.layers:
                nearest = layer.nearest_below(nearest)
        if nearest != wanted:
            raise ValueError(
                f"[hf] the cache cannot go back to {wanted} positions: its blocks are sealed whole; the nearest length "
                f"below is {nearest}"
            )
        for layer in self.layers:
            layer.crop(argument)

    def report(self) -> dict[str, Any]:
        """What the cache holds, all layers and sequences together: n_layers, n_sequences, n_tokens (of all sequences,
        without padding), bytes, bits_per_entry (all bytes, sinks and tail included), and for each of k and v: codec,
        paper_bits, honest_bits (per entry of sealed blocks), sealed_bytes, sealed_entries, exact_bytes."""
        return sum_reports([layer.reports() for layer in self.layers])
