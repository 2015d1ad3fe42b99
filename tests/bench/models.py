"""Fetches a model that the benches, the slow tests and docs/evaluation.md use, and prints its path.

    python tests/bench/models.py [NAME]

It is `spectralkv pull NAME`, whose table of names is python/spectralkv/fetch/named.py.
"""

from __future__ import annotations

import sys

from spectralkv.fetch.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
