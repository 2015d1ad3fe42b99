"""What people are told of a model (name, authors, licence, ...): `gguf` finds it in the folder and its README.md."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralkv.convert.errors import ConvertError
from spectralkv.output import printable

if TYPE_CHECKING:
    from gguf import Metadata

WHOLE = ("sampling_top_k", "sampling_penalty_last_n", "sampling_mirostat")


def read_metadata(folder: Path, model_name: str | None, n_weights: int) -> tuple[Metadata, list[str]]:
    """The metadata, and notes of what was left out. Nothing in here changes results, so that a card that cannot be read
    is no error. ConvertError for a name that is none."""
    from gguf import Metadata

    if model_name is not None and not (model_name.strip() and model_name.isprintable()):
        raise ConvertError(f"the model's name is {model_name!r}, expected a text of printable characters")
    notes = []
    try:
        metadata = Metadata.load(None, folder.resolve(), model_name, n_weights)
    except Exception as error:  # of any parser that it asks
        reason = str(error).split("\n")[0]
        notes.append(f"{folder}: the model card cannot be read ({type(error).__name__}: {reason}), and is left out")
        metadata = Metadata(name=model_name)
        Metadata.apply_metadata_heuristic(metadata, None, None, Path("/") / folder.resolve().name, n_weights)
        metadata.name = model_name or metadata.name
    for key, value in vars(metadata).items():
        clean = _clean(key, value)
        if clean is None and value is not None:
            notes.append(f"{folder}: the model card's {key} is {value!r:.60}, which is left out")
        setattr(metadata, key, clean)
    metadata.name = metadata.name or "model"
    return metadata, notes


def _clean(key: str, value: Any) -> Any:
    """The value, or None where GGUF's writer could not write it."""
    if key.startswith("sampling_") and key != "sampling_sequence":
        kinds = int if key in WHOLE else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return None
        return value if math.isfinite(value) and abs(value) < 1 << 31 else None
    if key in ("base_models", "datasets"):
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            return None
        return [{name: _text(part) for name, part in one.items() if _text(part)} for one in value]
    if key in ("tags", "languages"):
        return [_text(one) for one in value if _text(one)] or None if isinstance(value, list) else None
    return _text(value)


def _text(value: Any) -> str | None:
    return printable(value).replace("\0", "") if isinstance(value, str) else None
