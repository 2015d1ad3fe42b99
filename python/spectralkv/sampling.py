"""How tokens are drawn: the arguments of completions, checked, as the core takes them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, TypedDict

from spectralkv import _core
from spectralkv.arguments import INT32, biases, real, whole
from spectralkv.llama_options import seed_of, warn_without_effect


class Samplers(TypedDict, total=False):
    """What completions take beside llama-cpp-python's arguments."""

    repeat_last_n: int


_REAL = ("temperature", "top_p", "min_p", "repeat_penalty", "frequency_penalty", "presence_penalty")
_WHOLE = ("top_k", "repeat_last_n")


def sampling_options(seeds: random.Random, repeat_last_n: int, scope: Mapping[str, Any]) -> _core.SamplingOptions:
    """seeds: where the seed comes from when a call gives none; scope: its arguments, and others; `more` are those
    of the class Samplers."""
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
    return _core.SamplingOptions(seed=number, logit_bias=biases(given["logit_bias"]), **options)
