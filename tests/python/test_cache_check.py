"""Cache types that lose a model's keys are told before anything is read."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
from gguf import GGUFReader

from spectralkv import Llama, _core

LOST = ("q4_0", "turboquant:2")
KEPT = ("f16", "q8_0", "default")


@pytest.fixture
def biased(make_tiny: Callable[..., str]) -> str:
    """A model whose keys of the second layer have one large entry in common, as Qwen2's do."""
    path = make_tiny(arch="qwen2", n_embd=64, n_heads=2, n_kv_heads=1, head_dim=32, scale=0.2)
    for tensor in GGUFReader(path, "r+").tensors:
        if tensor.name == "blk.1.attn_k.bias":
            tensor.data[:] = 0
            tensor.data[5] = 100
            tensor.data.base.flush()
    return path


def test_types_that_lose_the_keys(biased: str) -> None:
    engine = _core.Engine(biased, n_threads=1)
    for kind in LOST:
        words = engine.cache_warning(kind, "f16")
        assert f"keys in '{kind}' lose this model" in words and "in layer 1" in words
        assert "\n" not in words
    for kind in KEPT:
        assert engine.cache_warning(kind, "q4_0") == "", kind  # values have no such biases
    assert engine.cache_warning("q8_0;layers 0=q4_0", "f16") == ""


def test_llama_warns(biased: str) -> None:
    with pytest.warns(UserWarning, match="keys in 'q4_0' lose this model"):
        Llama(biased, n_ctx=64, type_k="q4_0", type_v="f16", verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Llama(biased, n_ctx=64, type_k="q8_0", type_v="f16", verbose=False)


def test_other_models_have_none(make_tiny: Callable[..., str]) -> None:
    for arch in ("llama", "qwen2"):
        engine = _core.Engine(make_tiny(arch=arch), n_threads=1)
        for kind in (*LOST, *KEPT):
            assert engine.cache_warning(kind, kind) == ""


def test_a_context_beyond_the_training_is_told(tiny_model: str) -> None:
    with pytest.warns(UserWarning, match="trained for 256 tokens of context, n_ctx is 300"):
        Llama(tiny_model, n_ctx=300, verbose=False)
