"""Runs GGUF models of the Llama kind with a compressed KV cache."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectralkv._core import version as __version__
    from spectralkv.constants import (
        GGML_TYPE_F16,
        GGML_TYPE_F32,
        GGML_TYPE_Q4_0,
        GGML_TYPE_Q8_0,
        LLAMA_ATTENTION_TYPE_CAUSAL,
        LLAMA_ATTENTION_TYPE_NON_CAUSAL,
        LLAMA_ATTENTION_TYPE_UNSPECIFIED,
        LLAMA_DEFAULT_SEED,
        LLAMA_POOLING_TYPE_CLS,
        LLAMA_POOLING_TYPE_LAST,
        LLAMA_POOLING_TYPE_MEAN,
        LLAMA_POOLING_TYPE_NONE,
        LLAMA_POOLING_TYPE_RANK,
        LLAMA_POOLING_TYPE_UNSPECIFIED,
        LLAMA_ROPE_SCALING_TYPE_LINEAR,
        LLAMA_ROPE_SCALING_TYPE_LONGROPE,
        LLAMA_ROPE_SCALING_TYPE_NONE,
        LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
        LLAMA_ROPE_SCALING_TYPE_YARN,
        LLAMA_SPLIT_MODE_LAYER,
        LLAMA_SPLIT_MODE_NONE,
        LLAMA_SPLIT_MODE_ROW,
    )
    from spectralkv.fetch.errors import PullError
    from spectralkv.fetch.pull import pull
    from spectralkv.grammar import LlamaGrammar
    from spectralkv.hooks import (
        LogitsProcessor,
        LogitsProcessorList,
        MinTokensLogitsProcessor,
        StoppingCriteria,
        StoppingCriteriaList,
    )
    from spectralkv.llama import Llama
    from spectralkv.states import BaseLlamaCache, LlamaCache, LlamaDiskCache, LlamaRAMCache, LlamaState
    from spectralkv.tokenizers import BaseLlamaTokenizer, LlamaTokenizer

__all__ = [
    "GGML_TYPE_F16",
    "GGML_TYPE_F32",
    "GGML_TYPE_Q4_0",
    "GGML_TYPE_Q8_0",
    "LLAMA_ATTENTION_TYPE_CAUSAL",
    "LLAMA_ATTENTION_TYPE_NON_CAUSAL",
    "LLAMA_ATTENTION_TYPE_UNSPECIFIED",
    "LLAMA_DEFAULT_SEED",
    "LLAMA_POOLING_TYPE_CLS",
    "LLAMA_POOLING_TYPE_LAST",
    "LLAMA_POOLING_TYPE_MEAN",
    "LLAMA_POOLING_TYPE_NONE",
    "LLAMA_POOLING_TYPE_RANK",
    "LLAMA_POOLING_TYPE_UNSPECIFIED",
    "LLAMA_ROPE_SCALING_TYPE_LINEAR",
    "LLAMA_ROPE_SCALING_TYPE_LONGROPE",
    "LLAMA_ROPE_SCALING_TYPE_NONE",
    "LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED",
    "LLAMA_ROPE_SCALING_TYPE_YARN",
    "LLAMA_SPLIT_MODE_LAYER",
    "LLAMA_SPLIT_MODE_NONE",
    "LLAMA_SPLIT_MODE_ROW",
    "BaseLlamaCache",
    "BaseLlamaTokenizer",
    "Llama",
    "LlamaCache",
    "LlamaDiskCache",
    "LlamaGrammar",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "PullError",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "__version__",
    "pull",
]

_MODULES = {
    "constants": (
        "GGML_TYPE_F32",
        "GGML_TYPE_F16",
        "GGML_TYPE_Q4_0",
        "GGML_TYPE_Q8_0",
        "LLAMA_ATTENTION_TYPE_UNSPECIFIED",
        "LLAMA_ATTENTION_TYPE_CAUSAL",
        "LLAMA_ATTENTION_TYPE_NON_CAUSAL",
        "LLAMA_DEFAULT_SEED",
        "LLAMA_POOLING_TYPE_UNSPECIFIED",
        "LLAMA_POOLING_TYPE_NONE",
        "LLAMA_POOLING_TYPE_MEAN",
        "LLAMA_POOLING_TYPE_CLS",
        "LLAMA_POOLING_TYPE_LAST",
        "LLAMA_POOLING_TYPE_RANK",
        "LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED",
        "LLAMA_ROPE_SCALING_TYPE_NONE",
        "LLAMA_ROPE_SCALING_TYPE_LINEAR",
        "LLAMA_ROPE_SCALING_TYPE_YARN",
        "LLAMA_ROPE_SCALING_TYPE_LONGROPE",
        "LLAMA_SPLIT_MODE_NONE",
        "LLAMA_SPLIT_MODE_LAYER",
        "LLAMA_SPLIT_MODE_ROW",
    ),
    "fetch.errors": ("PullError",),
    "fetch.pull": ("pull",),
    "grammar": ("LlamaGrammar",),
    "hooks": (
        "LogitsProcessor",
        "LogitsProcessorList",
        "MinTokensLogitsProcessor",
        "StoppingCriteria",
        "StoppingCriteriaList",
    ),
    "llama": ("Llama",),
    "states": ("BaseLlamaCache", "LlamaCache", "LlamaDiskCache", "LlamaRAMCache", "LlamaState"),
    "tokenizers": ("BaseLlamaTokenizer", "LlamaTokenizer"),
}
_PLACES = {name: (module, name) for module, names in _MODULES.items() for name in names}
_PLACES["__version__"] = ("_core", "version")


def __getattr__(name: str) -> Any:
    """Loads a public name, and what it needs, when it is first asked for: the command line starts without numpy."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PLACES[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
