"""Runs Llama and Mistral GGUF models with a compressed KV cache."""

from typing import TYPE_CHECKING, Any

from spectralkv._core import version as __version__
from spectralkv.pull import PullError, pull

if TYPE_CHECKING:
    from spectralkv.llama import Llama

__all__ = ["Llama", "PullError", "__version__", "pull"]


def __getattr__(name: str) -> Any:
    """Loads Llama, and numpy with it, when it is first asked for: the command line does without."""
    if name != "Llama":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from spectralkv.llama import Llama

    globals()["Llama"] = Llama
    return Llama
