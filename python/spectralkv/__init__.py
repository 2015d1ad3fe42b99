"""Runs GGUF models of the Llama kind with a compressed KV cache."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectralkv._core import version as __version__
    from spectralkv.fetch.errors import PullError
    from spectralkv.fetch.pull import pull
    from spectralkv.grammar import LlamaGrammar
    from spectralkv.llama import Llama

__all__ = ["Llama", "LlamaGrammar", "PullError", "__version__", "pull"]

_PLACES = {
    "Llama": ("llama", "Llama"),
    "LlamaGrammar": ("grammar", "LlamaGrammar"),
    "PullError": ("fetch.errors", "PullError"),
    "__version__": ("_core", "version"),
    "pull": ("fetch.pull", "pull"),
}


def __getattr__(name: str) -> Any:
    """Loads a public name, and what it needs, when it is first asked for: the command line starts without numpy."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PLACES[name]
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
