"""Calibrations of known models (kv/calibration.h), by the models' fingerprints; `spectralkv calibrate` wrote them."""

from __future__ import annotations

import os

SHIPPED = os.path.dirname(os.path.abspath(__file__))  # the folder
