"""Runs Llama and Mistral GGUF models with a compressed KV cache."""

from spectralkv._core import version as __version__
from spectralkv.llama import Llama
from spectralkv.pull import PullError, pull

__all__ = ["Llama", "PullError", "__version__", "pull"]
