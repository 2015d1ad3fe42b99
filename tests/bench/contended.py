"""Decoding speed while another process keeps one of the cores busy, by the speed without it.

    python tests/bench/contended.py [-m MODEL] [-t THREADS] [-d DEPTH] [-r TURNS]

Each turn times the same tokens free and contended; the figure is the median of the ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUSY = "while True: pass"
STEPS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-m", "--model", help="GGUF file (default: the demo model)")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-d", "--depth", type=int, default=2048)
    parser.add_argument("-r", "--turns", type=int, default=5)
    parser.add_argument("-ct", "--type", default="eoptshrinkq:2", help="cache type of keys and values")
    args = parser.parse_args()

    from spectralkv import _core, pull

    engine = _core.Engine(args.model or pull(), n_threads=args.threads)
    session = _core.Session(engine, n_ctx=args.depth + STEPS + 1, type_k=args.type, type_v=args.type)
    ids = [5 + i % 1000 for i in range(args.depth + STEPS)]
    session.eval(ids[: args.depth])

    def speed() -> float:
        session.load_state(state)
        start = time.perf_counter()
        for token in ids[args.depth :]:
            session.eval([token])
        return STEPS / (time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder:
        state = str(Path(folder) / "context.state")
        session.save_state(state)
        speed()
        core = max(os.sched_getaffinity(0))
        pairs = []
        for _ in range(args.turns):
            free = speed()
            with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
                os.sched_setaffinity(busy.pid, {core})
                time.sleep(0.2)  # it has started
                pairs.append((free, speed()))
                busy.kill()
    ratio = statistics.median(contended / free for free, contended in pairs)
    free, contended = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
    print(f"{args.threads} threads, depth {args.depth}, {args.type}: {free:.1f} tok/s free, ", end="")
    print(f"{contended:.1f} tok/s with core {core} busy: {ratio:.2f} of the speed")


if __name__ == "__main__":
    main()
