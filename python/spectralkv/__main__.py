"""`python -m spectralkv` is the command `spectralkv`."""

from __future__ import annotations

import sys

from spectralkv.cli import main

sys.exit(main())
