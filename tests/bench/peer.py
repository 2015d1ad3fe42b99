"""Prompt and generation speed side by side with llama.cpp, through llama-cpp-python.

    python tests/bench/peer.py --peer-python PEER_VENV/bin/python -m model.gguf

Each side lives in a process of its own and waits while the other one works; turns alternate, and the ratio of a row is
the median of the ratios of the turns. Both run greedily on the same token ids, with the same number of threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

Row = dict[str, Any]
GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}

# Both sides answer lines "LABEL N_PROMPT N_GENERATE DEPTH" with the seconds that reading or generating took.
OURS = """
import json, sys, time
from spectralkv import _core
o = json.loads(sys.argv[1])
engine = _core.Engine(o["model"], n_threads=o["threads"])
session = _core.Session(engine, n_ctx=o["n_ctx"], n_batch=512, type_k=o["type_k"], type_v=o["type_v"])
greedy = _core.SamplingOptions(temperature=0.0)
def work(n_prompt, n_generate, depth):
    ids = [(7919 * i) % 20000 + 300 for i in range(depth + max(n_prompt, 1))]
    session.reset()
    if depth:
        session.eval(ids[:depth])
    begin = time.perf_counter()
    if n_prompt:
        session.eval(ids[depth:])
        return time.perf_counter() - begin
    session.eval(ids[depth : depth + 1])
    generation = _core.Generation(session, greedy, max_tokens=n_generate, ignore_end_tokens=True)
    while generation.next() is not None:
        pass
    return time.perf_counter() - begin
print("engine", engine.description, flush=True)
for line in sys.stdin:
    print(work(*map(int, line.split())), flush=True)
"""

PEER = """
import json, sys, time
import llama_cpp
o = json.loads(sys.argv[1])
model = llama_cpp.Llama(o["model"], n_threads=o["threads"], n_threads_batch=o["threads"], n_ctx=o["n_ctx"], n_batch=512,
                        n_ubatch=512, flash_attn=True, type_k=o["peer_k"], type_v=o["peer_v"], verbose=False)
def work(n_prompt, n_generate, depth):
    ids = [(7919 * i) % 20000 + 300 for i in range(depth + max(n_prompt, 1))]
    model.reset()
    model._ctx.kv_cache_clear()
    if depth:
        model.eval(ids[:depth])
    begin = time.perf_counter()
    if n_prompt:
        model.eval(ids[depth:])
        return time.perf_counter() - begin
    model.eval(ids[depth : depth + 1])
    for i in range(n_generate):
        token = model.sample(temp=0.0)
        if i + 1 < n_generate:
            model.eval([token])
    return time.perf_counter() - begin
print("engine", "llama-cpp-python", llama_cpp.__version__, flush=True)
for line in sys.stdin:
    print(work(*map(int, line.split())), flush=True)
"""


class Side:
    """One engine in its own process."""

    def __init__(self, python: str, script: str, options: Row) -> None:
        command = [python, "-c", script, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = self._line().removeprefix("engine ")

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            sys.exit(f"peer.py: a side ended with status {self.process.wait()}")
        return line

    def seconds(self, n_prompt: int, n_generate: int, depth: int) -> float:
        """Seconds to read n_prompt tokens, or to generate n_generate, behind `depth` tokens."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{n_prompt} {n_generate} {depth}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-m", "--model", help="GGUF file (default: the demo model)")
    parser.add_argument("-p", "--prompt", type=int, default=512, help="tokens of the prompt test; 0: none")
    parser.add_argument("-n", "--generate", type=int, default=128, help="tokens of the generation test; 0: none")
    parser.add_argument("-d", "--depth", type=int, nargs="+", default=[0], help="tokens in the cache before the test")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("-ctk", "--type-k", default="f16", help="our cache type of keys")
    parser.add_argument("-ctv", "--type-v", default="f16", help="our cache type of values")
    parser.add_argument("--peer-type", default="f16", choices=GGML_TYPES, help="llama.cpp's cache type")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has llama_cpp")
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    return parser.parse_args()


def measure(ours: Side, peer: Side, args: argparse.Namespace) -> list[Row]:
    rows = []
    for depth in args.depth:
        for n_prompt, n_generate in ((args.prompt, 0), (0, args.generate)):
            n = n_prompt or n_generate
            if n == 0:
                continue
            for side in (ours, peer):
                side.seconds(n_prompt, n_generate and min(n, 8), depth)  # warm
            turns = []
            for turn in range(args.repetitions):
                first, second = (ours, peer) if turn % 2 == 0 else (peer, ours)
                taken = {side: side.seconds(n_prompt, n_generate, depth) for side in (first, second)}
                turns.append((n / taken[ours], n / taken[peer]))
            rows.append(
                {
                    "test": f"pp{n}" if n_prompt else f"tg{n}",
                    "depth": depth,
                    "type_k": args.type_k,
                    "type_v": args.type_v,
                    "ours": statistics.median(a for a, _ in turns),
                    "engine": ours.name,
                    "peer": statistics.median(b for _, b in turns),
                    "peer_type": args.peer_type,
                    "ratio": statistics.median(a / b for a, b in turns),
                }
            )
    return rows


def main() -> None:
    args = parse()
    if not args.model:
        from spectralkv import pull

        args.model = pull()
    options = {
        "model": args.model,
        "threads": args.threads,
        "n_ctx": max(args.depth) + max(args.prompt, args.generate) + 8,
        "type_k": args.type_k,
        "type_v": args.type_v,
        "peer_k": GGML_TYPES[args.peer_type],
        "peer_v": GGML_TYPES[args.peer_type],
    }
    ours, peer = Side(sys.executable, OURS, options), Side(args.peer_python, PEER, options)
    print(f"ours: {ours.name}\npeer: {peer.name}, flash attention, {args.threads} threads, {args.repetitions} turns")
    rows = measure(ours, peer, args)
    ours.close()
    peer.close()
    print(
        "\n| test | depth | K / V | ours t/s | llama.cpp type | llama.cpp t/s | ratio |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        types = f"{row['type_k']} / {row['type_v']}"
        speeds = f"{row['ours']:.1f} | {row['peer_type']} | {row['peer']:.1f} | {row['ratio']:.2f}"
        print(f"| {row['test']} | {row['depth']} | {types} | {speeds} |")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
