"""Turns checkpoints of the Llama kind, of Hugging Face or of Mistral, into GGUF files."""

from spectralkv.convert.conversion import ConvertOptions, Plan, convert, plan_conversion
from spectralkv.convert.errors import ConvertError

__all__ = ["ConvertError", "ConvertOptions", "Plan", "convert", "plan_conversion"]
