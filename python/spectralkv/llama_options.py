"""Arguments that llama-cpp-python's Llama has: what each becomes here, which have no effect, which are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from spectralkv.arguments import INT32, real, string, whole
from spectralkv.callers import callers_level

ANY_SEED = 2**32 - 1  # llama.cpp's number for a seed that is drawn
_GGML_TYPES = {0: "f32", 1: "f16", 2: "q4_0", 8: "q8_0"}  # the numbers of GGML_TYPE_...
_POOLING = {-1: "none", 0: "none", 1: "mean", 2: "cls", 3: "last"}  # LLAMA_POOLING_TYPE_...
_ROPE_SCALING = {-1: None, 0: "none", 1: "linear", 2: "yarn"}  # LLAMA_ROPE_SCALING_TYPE_...

# Their values that change nothing here, and why another one does not either.
_WITHOUT_EFFECT: dict[str, tuple[tuple[Any, ...], str]] = {
    "use_mmap": ((True,), "weights are always mapped"),
    "use_mlock": ((False,), "weights are never locked in memory"),
    "split_mode": ((1,), "one GPU is used"),
    "offload_kqv": ((True,), "the cache is where the weights are"),
    "op_offload": ((None,), "operations run where the weights are"),
    "swa_full": ((None, True), "the cache always holds the whole context"),
    "numa": ((False, 0), "the threads are the system's to place"),
    "no_perf": ((False,), "the times cost nothing"),
    "lora_scale": ((1.0,), "there is no adapter"),
    "draft_model": ((None,), "tokens are generated one by one; the results are the same"),
    "tfs_z": ((1.0,), "tail-free sampling is gone from llama.cpp too"),
    "penalize_nl": ((True,), "newlines are penalised as any token, as in llama.cpp"),
}
_REFUSED: dict[str, tuple[Any, str]] = {
    "lora_path": (None, "adapters are not supported; merge it into the weights and convert those"),
    "lora_base": (None, "adapters are not supported; merge it into the weights and convert those"),
}


def _same(value: Any, usual: tuple[Any, ...]) -> bool:
    return any(value is item or (type(value) in (bool, int, float) and value == item) for item in usual)


def warn_without_effect(given: Mapping[str, Any]) -> None:
    """One warning for all arguments that were given and do nothing here."""
    named = [
        f"{name}={given[name]!r} ({why})"
        for name, (usual, why) in _WITHOUT_EFFECT.items()
        if name in given and not _same(given[name], usual)
    ]
    batch = given.get("n_threads_batch")
    if batch is not None and batch != given.get("n_threads"):
        named.append(f"n_threads_batch={batch!r} (n_threads is of everything)")
    if named:
        warnings.warn(f"without effect here: {', '.join(named)}", stacklevel=callers_level())


def refuse(given: Mapping[str, Any]) -> None:
    """ValueError for an argument that would change what the model does and is not supported."""
    for name, (usual, why) in _REFUSED.items():
        if given[name] != usual:
            raise ValueError(f"[python] {name} is not supported: {why}")
    if whole("attention_type", given["attention_type"]) not in (-1, 0):
        raise ValueError("[python] attention_type is not supported but for -1 and 0: attention is causal")
    on_gpu = given["n_gpu_layers"] != 0
    if on_gpu and whole("main_gpu", given["main_gpu"]) != 0:
        raise ValueError("[python] main_gpu is not supported: the variable CUDA_VISIBLE_DEVICES chooses the GPU")
    shares = given["tensor_split"]
    if on_gpu and shares is not None and sum(1 for share in shares if real("tensor_split", share) > 0) > 1:
        raise ValueError("[python] tensor_split is not supported: one GPU is used")


def cache_type(name: str, value: Any) -> str:
    """A cache type by its name or GGML's number; None: the default, a compressed one."""
    if value is None:
        return "default"
    if isinstance(value, str):
        return string(name, value)
    if isinstance(value, (bool, float)) or not hasattr(value, "__index__"):
        raise TypeError(f"[python] {name} must be a cache type or GGML's number of one, not {value!r}")
    number = whole(name, value)
    if number not in _GGML_TYPES:
        known = ", ".join(f"{n} ({text})" for n, text in _GGML_TYPES.items())
        raise ValueError(f"[python] {name}: there is no cache of GGML's type {number}; there are {known}")
    return _GGML_TYPES[number]


def pooling_of(value: Any) -> str:
    """The name of a pooling type."""
    number = whole("pooling_type", value)
    if number not in _POOLING:
        raise ValueError(
            f"[python] pooling_type {number} is not supported; there are 0 (none), 1 (mean), 2 (cls) and 3 (last)"
        )
    return _POOLING[number]


def seed_of(value: Any) -> int | None:
    """None where one is to be drawn."""
    if value is None or value in (-1, ANY_SEED):
        return None
    return whole("seed", value, 0, 2**64 - 1)


def n_threads_of(given: Mapping[str, Any]) -> int:
    threads = given["n_threads"]
    return 0 if threads is None else whole("n_threads", threads, -INT32, INT32)


Override = tuple[str, bool | int | float | str]


def overrides_of(given: Mapping[str, Any], file: Callable[[], Mapping[str, Any]]) -> list[Override]:
    """Metadata keys and the values that stand in the place of the file's: kv_overrides, and what rope_... and yarn_...
    say. file: reads the file's own."""
    out: dict[str, bool | int | float | str] = {}
    for key, value in (given["kv_overrides"] or {}).items():
        if not isinstance(key, str) or not isinstance(value, (bool, int, float, str)):
            raise TypeError(f"[python] kv_overrides must be of bools, numbers or texts, not {key!r}: {value!r}")
        out[key] = value
    rope = _rope_of(given)
    if rope:
        own = file()
        prefix = f"{own['general.architecture']}.rope."
        if "scaling.factor" in rope and prefix + "scaling.type" not in own:
            rope = {"scaling.type": "linear", **rope}  # as llama.cpp takes a file that names none
        out |= {prefix + key: value for key, value in rope.items()}
    return list(out.items())


def _rope_of(given: Mapping[str, Any]) -> dict[str, int | float | str]:
    """What the arguments say of RoPE, by the ends of the keys."""
    out: dict[str, int | float | str] = {}
    kind = given["rope_scaling_type"]
    kind = -1 if kind is None else whole("rope_scaling_type", kind)
    if kind not in _ROPE_SCALING:
        raise ValueError(
            f"[python] rope_scaling_type {kind} is not supported; there are 0 (none), 1 (linear), 2 (yarn)"
        )
    if (name := _ROPE_SCALING[kind]) is not None:
        out["scaling.type"] = name
    if (base := real("rope_freq_base", given["rope_freq_base"])) != 0:
        out["freq_base"] = base
    if (scale := real("rope_freq_scale", given["rope_freq_scale"])) != 0:
        if scale < 0:
            raise ValueError(f"[python] rope_freq_scale must be above 0 (0: the model's), not {scale}")
        out["scaling.factor"] = 1 / scale
    for argument, usual in (
        ("yarn_ext_factor", -1.0),
        ("yarn_attn_factor", 1.0),
        ("yarn_beta_fast", 32.0),
        ("yarn_beta_slow", 1.0),
    ):
        if (value := real(argument, given[argument])) != usual and value >= 0:
            out[f"scaling.{argument}"] = value
    if (context := whole("yarn_orig_ctx", given["yarn_orig_ctx"], 0)) != 0:
        out["scaling.original_context_length"] = context
    return out
