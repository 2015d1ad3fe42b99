"""An engine in a process of its own, with the instruction set that it is told: logits of models, one after the other.

What is asked and answered is pickled, on standard input and output: a dict of `path`, `ids`, `cuts` (tokens of each
call of eval), `n_threads` and the session's options; the logits of all tokens, or an error's words.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np


class EngineWorker:
    """Use it as a context manager. instruction_set: as SPECTRALKV_SIMD has it."""

    def __init__(self, instruction_set: str) -> None:
        environment = {**os.environ, "SPECTRALKV_SIMD": instruction_set}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def logits(self, **asked: Any) -> np.ndarray | str:
        """[n_tokens, n_vocab], or what was wrong."""
        assert self._process.stdin is not None and self._process.stdout is not None
        pickle.dump(asked, self._process.stdin)
        self._process.stdin.flush()
        answer: np.ndarray | str = pickle.load(self._process.stdout)
        return answer

    def __enter__(self) -> EngineWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    from spectralkv import _core

    while True:
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: np.ndarray | str
        try:
            engine = _core.Engine(asked.pop("path"), n_threads=asked.pop("n_threads"), activations="f32")
            ids, cuts = asked.pop("ids"), asked.pop("cuts")
            session = _core.Session(engine, logits_all=True, **asked)
            for n in cuts:
                session.eval(ids[:n])
                ids = ids[n:]
            answer = session.all_logits()
        except ValueError as error:
            answer = str(error)
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
