"""The table of families, and the search in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.families import granite, llama, mistral, mistral3, mixtral, qwen2, qwen3, smollm3
from spectralkv.convert.family import Family
from spectralkv.convert.forms import check_form

FAMILIES = (
    llama.FAMILY,
    mistral.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    granite.FAMILY,
    smollm3.FAMILY,
    mixtral.FAMILY,
    mistral3.FAMILY,
    mistral3.WITH_IMAGES,
    mistral.WITH_IMAGES,
)


def family_of(config: dict[str, Any], path: Path, consolidated: bool) -> Family:
    """That of a config.json, or of Mistral's own files. ConvertError names one that is not supported, and those that
    are."""
    if consolidated:
        return mistral3.OWN_FILES if config.get(mistral3.OWN_GROWTH) else mistral.OWN_FILES
    check_form(config, {"architectures": [str], "model_type": str}, path)
    name = (config.get("architectures") or [f"model_type {config.get('model_type')!r}"])[0]
    if isinstance(text := config.get("text_config"), dict):
        name += f" of {text.get('model_type')}"
    for family in FAMILIES:
        if name in family.checkpoints:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.checkpoints)
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    raise ConvertError(f"{path}: architecture {name} is not supported; supported: {known}")
