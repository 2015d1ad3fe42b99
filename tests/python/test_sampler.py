"""Sampling from Python: options by keyword, and every step beside llama.cpp's on the same logits."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectralkv import _core

N = 300
OFF: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
LOGITS = np.random.default_rng(3).normal(0, 3, N).astype(np.float32)
HISTORY = [5, 9, 9, 40, 5, 9, 9, 41, 5, 9, 9, 40, 5, 9, 9]

# Our options beside the samplers of llama.cpp that they stand for, behind `HISTORY`.
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, list[Any]]]]] = {
    "top_k": ({"top_k": 7}, [("top_k", [7])]),
    "top_p": ({"top_p": 0.8}, [("top_p", [0.8, 1])]),
    "min_p": ({"min_p": 0.1}, [("min_p", [0.1, 1])]),
    "typical": ({"typical_p": 0.6}, [("typical", [0.6, 1])]),
    "typical_low": ({"typical_p": 0.05}, [("typical", [0.05, 1])]),
    "top_n_sigma": ({"top_n_sigma": 1.5}, [("top_n_sigma", [1.5])]),
    "xtc": ({"xtc_probability": 1.0, "xtc_threshold": 0.05}, [("xtc", [1.0, 0.05, 1, 1])]),
    "xtc_off": ({"xtc_probability": 1.0, "xtc_threshold": 0.6}, [("xtc", [1.0, 0.6, 1, 1])]),
    "temperature": ({"temperature": 0.6}, [("temp", [0.6])]),
    "greedy": ({"temperature": 0.0}, [("temp", [0.0])]),
    "dynatemp": (
        {"temperature": 1.0, "dynatemp_range": 0.7, "dynatemp_exponent": 1.5},
        [("temp_ext", [1.0, 0.7, 1.5])],
    ),
    "dynatemp_to_0": ({"temperature": 0.2, "dynatemp_range": 0.5}, [("temp_ext", [0.2, 0.5, 1.0])]),
    "penalties": (
        {"repeat_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2, "repeat_last_n": 6},
        [("penalties", [N, 6, 1.3, 0.4, 0.2])],
    ),
    "default_order": (
        {"temperature": 0.7, "top_k": 50, "typical_p": 0.9, "top_p": 0.9, "min_p": 0.02, "dynatemp_range": 0.2},
        [
            ("top_k", [50]),
            ("typical", [0.9, 1]),
            ("top_p", [0.9, 1]),
            ("min_p", [0.02, 1]),
            ("temp_ext", [0.7, 0.2, 1.0]),
        ],
    ),
    "other_order": (
        {"temperature": 2.0, "min_p": 0.2, "top_k": 5, "samplers": ["temperature", "min-p", "top_k"]},
        [("temp", [2.0]), ("min_p", [0.2, 1]), ("top_k", [5])],
    ),
    "sigma_then_dynatemp": (
        {"top_n_sigma": 1.0, "temperature": 1.0, "dynatemp_range": 0.5},
        [("top_n_sigma", [1.0]), ("temp_ext", [1.0, 0.5, 1.0])],
    ),
    "mirostat": (
        {"mirostat": 1, "mirostat_tau": 3.0, "temperature": 0.9},
        [("temp", [0.9]), ("mirostat", [N, 1, 3.0, 0.1, 100])],
    ),
    "mirostat_2": (
        {"mirostat": 2, "mirostat_tau": 1.5, "temperature": 0.9},
        [("temp", [0.9]), ("mirostat_v2", [1, 1.5, 0.1])],
    ),
}


def theirs(python: str, root: Path, vocabulary: str, cases: list[dict[str, Any]]) -> list[list[list[float]]]:
    given = json.dumps({"vocabulary": vocabulary, "cases": cases})
    script = root / "tests" / "support" / "llama_cpp_samplers.py"
    done = subprocess.run([python, str(script)], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same(ours: list[tuple[int, float]], left: list[list[float]], name: str) -> None:
    """The same tokens with the same probabilities; theirs are floats."""
    ids, logits = np.array([token for token, _ in left]), np.array([logit for _, logit in left], dtype=np.float64)
    found, want = np.zeros(ids.max() + 1), np.zeros(ids.max() + 1)
    want[ids] = np.exp(logits - logits.max())
    want /= want.sum()
    for token, p in ours:
        assert p == 0 or token < found.size, (name, token)
        found[min(token, ids.max())] += p
    assert np.array_equal(found > 0, want > 0), name
    np.testing.assert_allclose(found, want, rtol=2e-5, atol=1e-12, err_msg=name)


def test_steps_are_llama_cpps(llama_cpp_python: str, root: Path, demo_model: str) -> None:
    cases = [{"logits": LOGITS.tolist(), "history": HISTORY, "steps": steps} for _, (_, steps) in sorted(CASES.items())]
    results = theirs(llama_cpp_python, root, demo_model, cases)
    for (name, (options, _)), left in zip(sorted(CASES.items()), results, strict=True):
        sampler = _core.Sampler(_core.SamplingOptions(**{**OFF, **options}), N)
        same(sampler.distribution(LOGITS, HISTORY), left, name)


def test_dry_is_llama_cpps(llama_cpp_python: str, root: Path, demo_model: str) -> None:
    tokenizer = _core.Tokenizer.from_file(demo_model)
    n = tokenizer.n_vocab
    logits = np.zeros(n, dtype=np.float32)
    texts = [
        "a b c d e a b c d e a b c d",
        "one: two three four\none: two three four\none: two three",
        'He said "go on" and he said "go on" and he said "go',
        "x x x x x x x x x x x x",
        "no repetition in here",
    ]
    variants = [
        (0.8, 1.75, 2, -1, ["\n", ":", '"', "*"]),
        (0.8, 1.75, 2, -1, []),
        (1.5, 1.2, 0, -1, ["\n", ":"]),
        (2.0, 1.75, 1, 7, ["and", " said", "ee fo"]),
        (1.0, 1.0, 3, -1, ["three"]),
    ]
    cases, ours = list[dict[str, Any]](), list[list[tuple[int, float]]]()
    for text in texts:
        history = tokenizer.encode(text.encode(), add_special=False)
        for multiplier, base, allowed, last_n, breakers in variants:
            steps = [("dry", ["vocab", multiplier, base, allowed, len(history) if last_n < 0 else last_n, breakers])]
            cases.append({"logits": n, "history": history, "steps": steps})
            options = _core.SamplingOptions(
                **OFF,
                dry_multiplier=multiplier,
                dry_base=base,
                dry_allowed_length=allowed,
                dry_penalty_last_n=last_n,
                dry_sequence_breakers=breakers,
            )
            ours.append(_core.Sampler(options, n, tokenizer).distribution(logits, history))
    results = theirs(llama_cpp_python, root, demo_model, cases)
    changed = 0
    for case, mine, left in zip(cases, ours, results, strict=True):
        same(mine, left, str(case["steps"]))
        changed += mine[0][1] > mine[-1][1]
    assert changed >= len(cases) // 2


def test_options_by_keyword() -> None:
    with pytest.raises(ValueError, match=r"samplers: 'top_q' is none of penalties, dry"):
        _core.SamplingOptions(samplers=["top_q"])
    wrong: list[dict[str, Any]] = [
        {"typical_p": -1.0},
        {"top_n_sigma": float("nan")},
        {"xtc_threshold": -0.1},
        {"dynatemp_exponent": float("inf")},
        {"dry_multiplier": -1.0},
        {"dry_allowed_length": -1},
        {"dry_penalty_last_n": -2},
        {"dry_sequence_breakers": [""]},
        {"mirostat": 3},
        {"mirostat_tau": -1.0},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=next(iter(options))):
            _core.Sampler(_core.SamplingOptions(**options), N)
    with pytest.raises(ValueError, match="tokenizer"):
        _core.Sampler(_core.SamplingOptions(dry_multiplier=1.0), N)
    assert _core.Sampler(_core.SamplingOptions(temperature=-1, top_p=2, min_p=-1), N).sample(LOGITS) == LOGITS.argmax()
