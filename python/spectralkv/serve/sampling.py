"""How answers are drawn: what requests say of it, as the core takes it and as llama-server tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectralkv import _core
from spectralkv.serve.bodies import AnySampling

# llama.cpp's defaults, which are the core's (a test compares them).
DEFAULTS: dict[str, Any] = {
    "temperature": 0.8,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": -1,
    "dry_sequence_breakers": ["\n", ":", '"', "*"],
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"],
}
LONGEST_TOLD = 4096  # characters of a grammar
LETTERS = dict(zip("edskypmxt", DEFAULTS["samplers"], strict=True))
# A step of llama.cpp's for infill, which is not here: editors name it among others.
LEFT_OUT = frozenset(("infill", "i"))


def biases_of(given: Any, tokenizer: _core.Tokenizer) -> list[tuple[int, float]]:
    """Of pairs or a dict: ids, ids as digits, or texts, whose tokens all get the bias; false: never."""
    biases: list[tuple[int, float]] = []
    for what, bias in given.items() if isinstance(given, Mapping) else given or ():
        if isinstance(what, str):
            digits = what.isascii() and what.isdecimal() and len(what) <= 9
            ids = [int(what)] if digits else tokenizer.encode(what.encode(), False, False)
        else:
            ids = [what]
        biases += [(token, float("-inf") if bias is False else bias) for token in ids]
    return biases


def options_of(body: AnySampling, tokenizer: _core.Tokenizer) -> dict[str, Any]:
    """What a body says, by the fields of SamplingOptions."""
    options = {name: value for name in DEFAULTS if (value := getattr(body, name, None)) is not None}
    if (steps := options.get("samplers")) is not None:
        options["samplers"] = [LETTERS.get(step, step) if isinstance(steps, str) else step for step in steps]
        options["samplers"] = [step for step in options["samplers"] if step not in LEFT_OUT]
    return options | {"logit_bias": biases_of(getattr(body, "logit_bias", None), tokenizer)}


def settings(
    body: AnySampling, defaults: Mapping[str, Any], tokenizer: _core.Tokenizer, seed: int, stop: Sequence[str]
) -> dict[str, Any]:
    """llama-server's generation_settings: what a request is answered by. defaults: those of the command."""
    given = options_of(body, tokenizer)
    # JSON has no infinity; false is how a request says it.
    biases = [{"token": token, "bias": False if bias == float("-inf") else bias} for token, bias in given["logit_bias"]]
    return {
        "seed": seed,
        **{name: given.get(name, defaults.get(name, value)) for name, value in DEFAULTS.items()},
        "stop": list(stop),
        "logit_bias": biases,
        "ignore_eos": bool(body.ignore_eos),
        "stream": bool(body.stream),
        # Each answer tells it again, so that a long one would make much of little.
        "grammar": body.grammar if body.grammar and len(body.grammar) <= LONGEST_TOLD else "",
    }
