"""Calibrations of known models (kv/calibration.h), by the models' fingerprints, and how all of the package opens a
model: with its calibration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Union

from spectralkv import _core

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

SHIPPED = os.path.dirname(os.path.abspath(__file__))  # the folder
CALIBRATION_HELP = (
    "what eoptshrinkq knows of the model's heads: auto (a file that there is, or one made at the first long text and "
    "kept), none, or a file of `spectralkv calibrate`"
)


def say(line: str) -> None:
    print(line, file=sys.stderr)


def open_engine(
    model: Path,
    *,
    n_threads: int = 0,
    n_gpu_layers: int = 0,
    allow_unknown_pre: bool = False,
    activations: str = "q8_0",
    kv_calibration: Path = "auto",
    notice: Callable[[str], object] | None = say,
    overrides: Iterable[tuple[str, bool | int | float | str]] = (),
) -> _core.Engine:
    """_core.Engine, with the calibrations that the package ships."""
    return _core.Engine(
        model,
        n_threads=n_threads,
        n_gpu_layers=n_gpu_layers,
        allow_unknown_pre=allow_unknown_pre,
        activations=activations,
        kv_calibration=kv_calibration,
        calibrations=SHIPPED,
        notice=notice,
        overrides=overrides,
    )
