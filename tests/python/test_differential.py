"""Random small models, of all architectures and shapes, against the numpy twin, in every instruction set.

SPECTRALKV_EXAMPLES=2000 pytest tests/python/test_differential.py looks at so many models, others each time; without it
50, always the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from reference import llama as reference
from support.engine_worker import EngineWorker
from support.tiny_model import TinyModel, tensors, write_tiny_model

EXAMPLES = int(os.environ.get("SPECTRALKV_EXAMPLES", "0"))
SETS = ("scalar", "avx2", "avx512")
N_CTX = 160
YARN = {"type": "yarn", "factor": 4.0, "original": 32}
# What rows of an exact cache may be off by, beside the twin's double precision, once softmax has had them.
EXACT = {"f32": 2e-4, "f16": 2e-2}
# The same of blocks that are sealed; None: whatever their bits leave.
SEALED: dict[str, float | None] = {
    "q8_0": 0.1,
    "q4_0": None,
    "kivi:2": None,
    "turboquant:3": None,
    "eoptshrinkq:2": None,
    "eoptshrinkq:3,metric=off": None,
}
LAYOUTS = (
    "block=16,sink=0,window=0",
    "block=32,sink=4,window=16",
    "block=48,sink=1,window=20",
    "block=32,sink=0,window=200",
)


@dataclass
class Run:
    """How one model is run."""

    type_k: str
    type_v: str
    layout: str  # of both where they seal
    ids: list[int]
    cuts: list[list[int]]
    n_threads: list[int]
    instruction_set: str


@st.composite
def cuts_of(draw: st.DrawFn, n: int) -> list[int]:
    """Tokens of each call of eval."""
    ends = sorted(draw(st.sets(st.integers(1, n - 1), max_size=4))) if n > 1 else []
    return [b - a for a, b in zip([0, *ends], [*ends, n], strict=True)]


@st.composite
def models(draw: st.DrawFn) -> TinyModel:
    arch = draw(st.sampled_from(["llama", "qwen2", "qwen3", "granite", "smollm3", "mistral3", "mixtral"]))
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    head_dim = draw(st.sampled_from([16, 24, 32, 48, 64, 80, 96, 112, 128]))
    n_embd = draw(st.sampled_from([32, 48, 64]))
    changes: dict[str, Any] = {"n_layers": draw(st.integers(1, 2))}
    if arch == "granite":
        changes["factors"] = {
            "attention.scale": draw(st.sampled_from([0.0, 0.05, 0.2])),
            "embedding_scale": 6.0,
            "residual_scale": 0.25,
            "logit_scale": 4.0,
        }
    elif arch == "smollm3":
        changes["n_layers"] = draw(st.integers(4, 5))
    elif arch == "mistral3":
        changes |= {"rope_scaling": YARN | {"log_multiplier": draw(st.sampled_from([0.5, 1.0]))}}
        changes["factors"] = {"attention.temperature_scale": 0.1}
    elif arch == "mixtral":
        arch, n_experts = "llama", draw(st.integers(2, 5))
        used = draw(st.integers(1, n_experts))
        changes |= {"n_experts": n_experts, "n_experts_used": used, "split_experts": draw(st.booleans())}
    if arch == "llama":
        changes["biases"] = draw(st.booleans()) and "n_experts" not in changes
        changes["rope_freqs"] = draw(st.booleans())
    if arch in ("llama", "qwen2", "qwen3"):
        changes["rope_scaling"] = draw(st.sampled_from([None, {"type": "linear", "factor": 4.0}, YARN]))
        changes["rope_dims"] = draw(st.sampled_from([None, 8, head_dim // 4 * 2]))
        changes["sliding_window"] = draw(st.sampled_from([None, None, 20, 1]))
    return TinyModel(
        arch=arch,
        n_heads=kv_heads * group,
        n_kv_heads=kv_heads,
        head_dim=head_dim,
        n_embd=n_embd,
        n_ff=draw(st.sampled_from([8, 40, 72])),
        tied=draw(st.booleans()),
        freq_base=draw(st.sampled_from([1e4, 5e5])),
        seed=draw(st.integers(0, 1 << 20)),
        scale=float(n_embd) ** -0.5,
        **changes,
    )


@st.composite
def runs(draw: st.DrawFn) -> Run:
    n = draw(st.integers(1, 100))
    types = st.sampled_from([*EXACT, *SEALED])
    return Run(
        type_k=draw(types),
        type_v=draw(types),
        layout=draw(st.sampled_from(LAYOUTS)),
        ids=[int(t) for t in np.random.default_rng(draw(st.integers(0, 1 << 20))).integers(0, 320, n)],
        cuts=[draw(cuts_of(n)), draw(cuts_of(n))],
        n_threads=[draw(st.integers(1, 3)), draw(st.integers(1, 3))],
        instruction_set=draw(st.sampled_from(SETS)),
    )


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, EngineWorker]]:
    """An engine of each instruction set, started with the first model for it."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(EngineWorker(name)) for name in SETS}


@settings(
    max_examples=EXAMPLES or 50,
    derandomize=EXAMPLES == 0,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(model=models(), run=runs())
def test_random_models_equal_the_numpy_twin(
    model: TinyModel, run: Run, workers: dict[str, EngineWorker], tmp_path: Path
) -> None:
    path = write_tiny_model(tmp_path / "random.gguf", model)
    type_k, type_v = (kind if kind in EXACT else f"{kind},{run.layout}" for kind in (run.type_k, run.type_v))
    asked = {"path": str(path), "ids": run.ids, "n_ctx": N_CTX, "type_k": type_k, "type_v": type_v}
    one, other = (
        workers[run.instruction_set].logits(**asked, cuts=cuts, n_threads=n)
        for cuts, n in zip(run.cuts, run.n_threads, strict=True)
    )
    if isinstance(one, str):  # a set that this machine has not, or a head dim that a codec does not take
        assert "this processor and build have" in one or "head" in one, one
        assert isinstance(other, str)
        return
    assert isinstance(other, np.ndarray) and np.array_equal(one, other)  # to the bit, however it is cut
    assert np.isfinite(one).all()
    nothing_seals = "window=200" in run.layout
    bounds = [EXACT.get(kind) or (EXACT["f16"] if nothing_seals else SEALED[kind]) for kind in (run.type_k, run.type_v)]
    if None in bounds:
        return
    expected = reference.forward(model, tensors(model), run.ids)
    error = np.linalg.norm(one - expected, axis=1) / np.linalg.norm(expected, axis=1)
    note(f"error {error.max():.2e}")
    assert error.max() < max(bound for bound in bounds if bound is not None)
