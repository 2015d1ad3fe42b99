"""Prompt and generation speed side by side with llama.cpp, ik_llama.cpp and our own f16 cache.

    python tests/bench/peer.py --llama-cpp PEER_VENV/bin/python --ik-llama-cpp IK_VENV/bin/python -r 5

Every engine and cache type lives in a process of its own (sides.py), stopped while another one works. All read the
same text; at each depth they take turns, in an order that is reversed every turn, and go back to the depth after each.
A ratio is the median over the turns of our speed by the peer's in the same turn. Before anything is timed the engines
are compared by the next tokens that they expect. Prompt tests (-p) begin at an empty cache, generation (-n) at every
depth (-d).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
AGREEMENT_TOKENS = 256


class Side:
    """One engine with one pair of cache types, in its own process; it runs only while it is asked something."""

    def __init__(self, python: str, engine: str, types: str, options: Row) -> None:
        self.engine = engine
        self.type_k, _, type_v = types.partition("/")
        self.type_v = type_v or self.type_k
        self.types = types
        options = {**options, "type_k": self.type_k, "type_v": self.type_v}
        command = [python, str(Path(__file__).with_name("sides.py")), engine]
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed by close()
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.log, text=True)
        self._send(json.dumps(options))
        self.name = self._reply()

    def _reply(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.log.seek(0)
            said = "".join(self.log.readlines()[-5:])
            sys.exit(f"peer.py: {self.engine} with {self.types} ended with status {status}:\n{said}")
        os.kill(self.process.pid, signal.SIGSTOP)
        return json.loads(line)

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def ask(self, command: str) -> Any:
        os.kill(self.process.pid, signal.SIGCONT)
        self._send(command)
        return self._reply()

    def close(self) -> None:
        assert self.process.stdin is not None
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


class Test(NamedTuple):
    name: str
    command: str
    n: int
    depth: int


def text_ids(model: str, n: int) -> list[int]:
    """n token ids of the project's own documents, again and again."""
    from spectralkv import _core

    text = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))])
    ids: list[int] = list(_core.Engine(model, n_threads=1).tokenizer.encode(text.encode()))
    return (ids * (n // len(ids) + 1))[:n]


def check_agreement(sides: Sequence[Side]) -> None:
    """Two sides agree when the likeliest next token of each is among the eight likeliest of the other.

    Ours must agree with each other and with some peer; a peer that differs is named, for its speed is of other results.
    """
    tops = {}
    for side in sides:
        side.ask("hold")
        side.ask(f"read 0 {AGREEMENT_TOKENS}")
        tops[side] = side.ask("top 8")
        side.ask("back")

    def agree(a: Side, b: Side) -> bool:
        return tops[a][0] in tops[b] and tops[b][0] in tops[a]

    ours = [side for side in sides if side.engine == "spectralkv"]
    peers = [side for side in sides if side.engine != "spectralkv"]
    wrong = [peer for peer in peers if not all(agree(side, peer) for side in ours)]
    if (peers and len(wrong) == len(peers)) or not all(agree(ours[0], side) for side in ours):
        sys.exit(
            f"peer.py: the engines disagree on the next token: { {s.engine + ' ' + s.types: tops[s] for s in sides} }"
        )
    for peer in wrong:
        print(f"note: {peer.engine} {peer.types} expects other tokens than all others: {tops[peer]}")


def speeds(sides: Sequence[Side], test: Test, turns: int) -> list[list[float]]:
    """Tokens per second by side and turn; the sides are at the test's depth, before and after."""
    end = test.depth + test.n
    taken: list[list[float]] = [[] for _ in sides]
    for turn in range(turns):
        for i in range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides))):
            progress(f"{test.name} at {test.depth}, turn {turn + 1} of {turns}: {sides[i].engine} {sides[i].types}")
            if test.command == "step":
                sides[i].ask(f"step {test.depth} {test.depth + 2}")  # caches and clocks are warm
                sides[i].ask("back")
            taken[i].append(test.n / sides[i].ask(f"{test.command} {test.depth} {end}"))
            sides[i].ask("back")
    return taken


def rows_of(sides: Sequence[Side], test: Test, taken: list[list[float]]) -> list[Row]:
    rows = []
    for ours, mine in zip(sides, taken, strict=True):
        for peer, theirs in zip(sides, taken, strict=True):
            if ours.engine != "spectralkv" or peer is ours or (peer.engine == "spectralkv" and peer.types != "f16"):
                continue
            row: Row = {"test": test.name, "depth": test.depth, "type_k": ours.type_k, "type_v": ours.type_v}
            row |= {"ours": statistics.median(mine), "engine": peer.engine, "peer": statistics.median(theirs)}
            row |= {
                "peer_type": peer.types,
                "ratio": statistics.median(a / b for a, b in zip(mine, theirs, strict=True)),
            }
            rows.append(row)
    return rows


def fastest(rows: Sequence[Row]) -> list[Row]:
    """Of the rows that differ in the peer's cache type alone, the one with the fastest peer."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in ("test", "depth", "type_k", "type_v", "engine"))
        if key not in best or row["peer"] > best[key]["peer"]:
            best[key] = row
    return list(best.values())


BEGIN, END = "<!-- peer.py writes this -->", "<!-- until here -->"
COLUMNS = ("test", "depth", "our K / V", "ours t/s", "peer", "its fastest K, V", "peer t/s", "ratio")
TABLE_HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def table_line(row: Row) -> str:
    ours = f"{row['type_k']} / {row['type_v']} | {row['ours']:.1f}"
    return (
        f"| {row['test']} | {row['depth']} | {ours} | {row['engine']} | {row['peer_type']} | {row['peer']:.1f} |"
        f" {row['ratio']:.2f} |"
    )


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Puts the table between the two marks of a document, in place of what is there."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"peer.py: {path} has no lines {BEGIN} and {END}")
    lines = [TABLE_HEAD, *map(table_line, fastest(rows))]
    path.write_text("\n".join([before + begin, *lines, end + after]), encoding="utf-8")


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if int(part) > 0 or part == "0"]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("-m", "--model", help="GGUF file (default: the demo model)")
    add("-p", "--prompt", type=numbers, default=[512], help="tokens of the prompt tests: 512,8000 (default: 512)")
    add("-n", "--generate", type=int, default=32, help="tokens of the generation tests, 0: none (default: 32)")
    add("-d", "--depth", type=numbers, default=[0], help="tokens in the cache before generating: 0,2048 (default: 0)")
    add("-t", "--threads", type=int, default=2, help="threads of every engine (default: 2)")
    add("-r", "--repetitions", type=int, default=5, help="turns (default: 5)")
    add("-ct", "--types", nargs="+", default=["f16", "eoptshrinkq:2"], help="our cache types: K or K/V")
    add("--llama-cpp", metavar="PYTHON", help="interpreter that has llama_cpp")
    add("--llama-types", nargs="+", default=["f16", "q8_0"], help="llama.cpp's cache types: K or K/V")
    add("--ik-llama-cpp", metavar="PYTHON", help="interpreter that has ik_llama_cpp")
    add("--ik-types", nargs="+", default=["f16", "q8_0", "q4_0"], help="ik_llama.cpp's cache types: K or K/V")
    add("--json", metavar="FILE", help="write all pairs as a JSON list")
    add("--write", metavar="FILE", type=Path, help=f"put the table between {BEGIN!r} and {END!r} of a document")
    args = parser.parse_args()
    if not (args.llama_cpp or args.ik_llama_cpp or ("f16" in args.types and len(args.types) > 1)):
        parser.error("nothing to compare: give --llama-cpp, --ik-llama-cpp, or f16 and another type of ours")
    return args


def start(args: argparse.Namespace) -> list[Side]:
    longest = max([*(depth + args.generate for depth in args.depth), *args.prompt, AGREEMENT_TOKENS]) + 8
    ids = text_ids(args.model, longest)
    options = {"model": args.model, "threads": args.threads, "n_ctx": (longest + 255) // 256 * 256, "ids": ids}
    wanted = [(sys.executable, "spectralkv", args.types)]
    wanted += [(args.llama_cpp, "llama.cpp", args.llama_types)] if args.llama_cpp else []
    wanted += [(args.ik_llama_cpp, "ik_llama.cpp", args.ik_types)] if args.ik_llama_cpp else []
    return [Side(python, engine, types, options) for python, engine, all_types in wanted for types in all_types]


def main() -> None:
    args = parse()
    if not args.model:
        from spectralkv import pull

        args.model = pull()
    sides = start(args)
    for name in dict.fromkeys(side.name for side in sides):
        print(name)
    check_agreement(sides)
    print(f"{args.threads} threads, {args.repetitions} turns\n\n{TABLE_HEAD}", flush=True)
    rows: list[Row] = []

    def measure(test: Test) -> None:
        found = rows_of(sides, test, speeds(sides, test, args.repetitions))
        rows.extend(found)
        progress("")
        print("\n".join(table_line(row) for row in fastest(found)), flush=True)
        if args.json:
            Path(args.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")

    for n in args.prompt:
        measure(Test(f"pp{n}", "read", n, 0))
    reached = 0
    for depth in sorted(args.depth):
        for side in sides:
            progress(f"reading to {depth}: {side.engine} {side.types}")
            if depth > reached:
                side.ask(f"read {reached} {depth}")
            side.ask("hold")
        reached = depth
        if args.generate:
            measure(Test(f"tg{args.generate}", "step", args.generate, depth))
    for side in sides:
        side.close()
    if args.write:
        write_table(args.write, rows)


if __name__ == "__main__":
    main()
