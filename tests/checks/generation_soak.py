"""Sessions under random use, each compared with a session that has read the same tokens at once.

`python tests/checks/generation_soak.py [SECONDS] [SEED]` (300 s) has sessions of several cache types eval, generate,
truncate, reset, fork, save and load at random. Tokens must be those of a list kept beside each; logits and bytes of
the cache those of a new session that evals the list, to the bit; a refusal must leave both as they were. Before and
after all that every session is filled to its end: resident memory must be the same then, within 1 %. (In between it
goes with what they hold, and in the first rounds with what the allocator learns to keep of sizes that come and go.)
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))
from serve_soak import resident
from support.tiny_model import write_tiny_model

from spectralkv import _core

N_CTX, N_VOCAB, OF_EACH = 256, 320, 3
TYPES = (
    ("f16", "f16"),
    ("f32", "q8_0,block=32"),
    ("q8_0,block=32,sink=4,window=16", "q4_0,block=32,sink=4,window=16"),
    ("eoptshrinkq:2,block=32,window=16", "eoptshrinkq:3,block=32,window=16"),
    ("turboquant:3,block=32", "kivi:2,block=32"),
)
ACTIONS = {"eval": 6, "generate": 4, "truncate": 4, "fork": 2, "save": 2, "load": 2, "reset": 1, "renew": 1}
ROUNDS, WARM = 4, 150  # before memory is looked at; steps of each
GROWTH = 0.01  # of the memory


@dataclass
class Held:
    """A session, and the tokens that it must have."""

    session: _core.Session
    kind: int
    tokens: list[int] = field(default_factory=list)
    read: bool = False  # it has logits after the last token


class Soak:
    def __init__(self, folder: Path, numbers: random.Random) -> None:
        self.folder, self.numbers, self.counts = folder, numbers, Counter[str]()
        self.faults: list[str] = []
        self.engine = _core.Engine(str(write_tiny_model(folder / "tiny.gguf")), n_threads=2)
        self.held = [Held(self.session(kind), kind) for kind in range(len(TYPES)) for _ in range(OF_EACH)]
        self.saved: dict[tuple[int, int], tuple[list[int], bool]] = {}

    def session(self, kind: int, n_batch: int | None = None) -> _core.Session:
        k, v = TYPES[kind]
        n_batch = n_batch or self.numbers.choice((7, 48, 512))
        return _core.Session(self.engine, n_ctx=N_CTX, n_batch=n_batch, type_k=k, type_v=v)

    def filled(self) -> float:
        """MiB with the most that all can hold together, once everything has run."""
        for _ in range(WARM):
            self.step()
        for held in self.held:
            held.session = self.session(held.kind, 512)
            held.tokens = [self.numbers.randrange(N_VOCAB) for _ in range(N_CTX)]
            held.session.eval(held.tokens)
            held.read = True
        for held in self.held:
            self.save(held)
            self.compare(held, "fill")
        gc.collect()
        return resident()

    def step(self) -> None:
        held = self.numbers.choice(self.held)
        [action] = self.numbers.choices(list(ACTIONS), list(ACTIONS.values()))
        try:
            getattr(self, action)(held)
            self.counts[action] += 1
        except ValueError:
            self.counts[f"{action} refused"] += 1
        if held.session.tokens != held.tokens:
            self.faults.append(f"{action}: {TYPES[held.kind]} has {len(held.session.tokens)} tokens of other values")
            held.tokens = held.session.tokens
        if held.read and self.numbers.random() < 0.25:
            self.compare(held, action)

    def compare(self, held: Held, action: str) -> None:
        fresh = self.session(held.kind)
        fresh.eval(held.tokens)
        self.counts["compared"] += 1
        if not np.array_equal(fresh.logits(), held.session.logits()):
            self.faults.append(f"{action}: {TYPES[held.kind]}: other logits after {len(held.tokens)} tokens")
        one, other = (
            report["k"]["sealed_bytes"] + report["v"]["sealed_bytes"]
            for report in (fresh.cache_report(), held.session.cache_report())
        )
        if one != other:
            self.faults.append(f"{action}: {TYPES[held.kind]}: {other} bytes are sealed, {one} in a new session")

    def eval(self, held: Held) -> None:
        tokens = [self.numbers.randrange(N_VOCAB) for _ in range(self.numbers.choice((1, 2, 17, 60)))]
        held.session.eval(tokens)
        held.tokens += tokens
        held.read = True

    def generate(self, held: Held) -> None:
        if not held.read:
            return
        options = _core.SamplingOptions(temperature=1.0, seed=self.numbers.randrange(1 << 30))
        generation = _core.Generation(
            held.session, options, max_tokens=self.numbers.randrange(1, 12), ignore_end_tokens=True
        )
        for _ in iter(generation.next, None):
            pass
        now = held.session.tokens
        if now[: len(held.tokens)] != held.tokens or len(now) > len(held.tokens) + 11:
            self.faults.append(f"generate: {TYPES[held.kind]}: tokens before the answer have changed")
        held.tokens = now

    def truncate(self, held: Held) -> None:
        n = self.numbers.randrange(len(held.tokens) + 1)
        held.session.truncate(n)
        held.read &= n == len(held.tokens)
        held.tokens = held.tokens[:n]

    def reset(self, held: Held) -> None:
        held.session.reset()
        held.tokens, held.read = [], False

    def renew(self, held: Held) -> None:
        held.session = self.session(held.kind)
        held.tokens, held.read = [], False

    def fork(self, held: Held) -> None:
        other = self.numbers.choice(self.held)
        held.session.copy_from(other.session)  # of another cache type it is refused
        held.tokens, held.read = list(other.tokens), other.read

    def save(self, held: Held) -> None:
        slot = self.numbers.randrange(3)
        held.session.save_state(self.folder / f"{held.kind}-{slot}.state")
        self.saved[held.kind, slot] = (list(held.tokens), held.read)

    def load(self, held: Held) -> None:
        kind, slot = self.numbers.choice([(held.kind, 0), (held.kind, 1), (self.numbers.randrange(len(TYPES)), 2)])
        if (kind, slot) not in self.saved:
            return
        held.session.load_state(self.folder / f"{kind}-{slot}.state")
        if kind != held.kind:
            self.faults.append(f"load: {TYPES[held.kind]} takes a state of {TYPES[kind]}")
        tokens, held.read = self.saved[kind, slot]
        held.tokens = list(tokens)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    numbers = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    with tempfile.TemporaryDirectory(prefix="spectralkv-soak-") as name:
        soak = Soak(Path(name), numbers)
        rounds = [soak.filled() for _ in range(ROUNDS)]
        start, steps, peaks = time.monotonic(), 0, [0.0] * 5  # MiB, by fifth of the time
        while (spent := time.monotonic() - start) < seconds and len(soak.faults) < 20:
            soak.step()
            steps += 1
            if steps % 200 == 0:
                gc.collect()
                fifth = int(5 * spent / seconds)
                peaks[fifth] = max(peaks[fifth], resident())
        after = soak.filled()
    faults = soak.faults
    memory = f"{rounds[-1]:.1f} MiB before, {after:.1f} after, {', '.join(f'{peak:.1f}' for peak in peaks)} in between"
    if not faults and after > rounds[-1] * (1 + GROWTH):
        faults.append(f"memory grows: {memory}")
    told = ", ".join(f"{n} x {what}" for what, n in sorted(soak.counts.items()))
    finish("generation_soak", faults, f"{seconds:.0f} s: {told}; memory {memory}")


if __name__ == "__main__":
    main()
