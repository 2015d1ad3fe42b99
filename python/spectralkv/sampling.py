"""How tokens are drawn: the arguments of completions, checked, as the core takes them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from spectralkv import _core
from spectralkv.arguments import INT32, biases, real, stops, whole
from spectralkv.llama_options import seed_of, warn_without_effect


class Samplers(TypedDict, total=False):
    """What completions take beside llama-cpp-python's arguments; llama.cpp's names, meaning and defaults."""

    repeat_last_n: int
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: Sequence[str]
    samplers: Sequence[str]


# The core's names of what is given in another one, or with one in every call.
_REAL = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "mirostat_tau",
    "mirostat_eta",
)
_WHOLE = ("top_k", "repeat_last_n")
_MORE_REAL = (
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "dynatemp_range",
    "dynatemp_exponent",
    "dry_multiplier",
    "dry_base",
)
_MORE_WHOLE = ("dry_allowed_length", "dry_penalty_last_n")


def _names(value: Any) -> list[str]:
    """The steps by name, in their order."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"[python] samplers must be the names of steps, not {value!r}")
    for i, name in enumerate(value):
        if not isinstance(name, str):
            raise TypeError(f"[python] samplers[{i}] must be a str, not {name!r}")
    return list(value)


def sampling_options(seeds: random.Random, repeat_last_n: int, scope: Mapping[str, Any]) -> _core.SamplingOptions:
    """seeds: where the seed comes from when a call gives none; scope: its arguments, and others; `more` are those of
    the class Samplers."""
    if (seed := scope["seed"]) is None:
        number = seeds.getrandbits(32)
    elif (asked := seed_of(seed)) is None:
        number = random.SystemRandom().getrandbits(32)
    else:
        number = asked
    more = scope["more"]
    if wrong := [name for name in more if name not in Samplers.__annotations__]:
        raise TypeError(f"[python] there is no argument '{wrong[0]}'")
    given = {"repeat_last_n": repeat_last_n, "temperature": scope.get("temp"), **scope, **more}
    warn_without_effect({name: given[name] for name in ("tfs_z", "penalize_nl") if name in given})
    options: dict[str, Any] = {name: real(name, given[name]) for name in _REAL}
    options |= {name: whole(name, given[name], -INT32, INT32) for name in _WHOLE}
    options |= {name: real(name, more[name]) for name in _MORE_REAL if name in more}
    options |= {name: whole(name, more[name], -INT32, INT32) for name in _MORE_WHOLE if name in more}
    if "dry_sequence_breakers" in more:
        options["dry_sequence_breakers"] = stops(more["dry_sequence_breakers"])
    if "samplers" in more:
        options["samplers"] = _names(more["samplers"])
    mode = whole("mirostat_mode", given["mirostat_mode"], 0, 2)
    return _core.SamplingOptions(seed=number, logit_bias=biases(given["logit_bias"]), mirostat=mode, **options)
