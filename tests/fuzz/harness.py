"""Runs a fuzz target of Python: guided by coverage where there is atheris, blindly where there is not.

NAME_fuzz.py --begin FOLDER     writes what it begins with: seeds, a file each, and its words as FOLDER.dict
NAME_fuzz.py SECONDS [SEED]     changes the seeds blindly
NAME_fuzz.py FILE               reads that input once
NAME_fuzz.py -OPTION... FOLDER  libFuzzer's options and corpora, with atheris
"""

from __future__ import annotations

import importlib
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
CHANGES = 6  # of an input, at most


class Target(Protocol):
    """modules: those whose coverage guides. seeds, words: as in fuzz.h. read: raises when what came of an input does
    not hold. mutated: a change that knows the format, or None."""

    modules: Sequence[str]

    def seeds(self) -> list[bytes]: ...
    def words(self) -> list[bytes]: ...
    def read(self, data: bytes) -> None: ...
    def mutated(self, data: bytes, numbers: random.Random) -> bytes | None: ...


def changed(data: bytes, other: bytes, words: Sequence[bytes], numbers: random.Random) -> bytes:
    """The same with a few changes: bits, bytes, pieces cut out, doubled or exchanged, words."""
    out = bytearray(data)
    for _ in range(numbers.randint(1, CHANGES)):
        if not out:
            break
        at, n = numbers.randrange(len(out)), numbers.randint(1, 64)
        kind = numbers.randrange(7)
        if kind == 0:
            out[at] ^= 1 << numbers.randrange(8)
        elif kind == 1:
            out[at] = numbers.randrange(256)
        elif kind == 2:
            del out[at : at + n]
        elif kind == 3:
            out[at:at] = out[at : at + n]
        elif kind == 4:
            begin = numbers.randrange(len(other) or 1)
            out[at : at + n] = other[begin : begin + n]
        elif kind == 5:
            out[at:at] = numbers.choice(words)
        else:
            out[at : at + n] = numbers.choice(words)
    return bytes(out)


def begin(target: Target, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed{number}").write_bytes(seed)
    lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in target.words()]
    folder.with_name(folder.name + ".dict").write_text("".join(f'"{line}"\n' for line in lines))


def blind(target: Target, seconds: float, seed: int | None) -> None:
    seeds, words, numbers = target.seeds(), target.words(), random.Random(seed)
    count, end = 0, time.monotonic() + seconds
    for data in seeds:
        target.read(data)
    while time.monotonic() < end:
        data = numbers.choice(seeds)
        made = target.mutated(data, numbers) if numbers.random() < 0.5 else None
        data = changed(data, numbers.choice(seeds), words, numbers) if made is None else made
        try:
            target.read(data)
        except BaseException:
            Path("fuzz_failure.bin").write_bytes(data)
            print("the input is kept: fuzz_failure.bin", file=sys.stderr)
            raise
        count += 1
    print(f"{count} inputs from {len(seeds)} seeds")


def guided(make: Callable[[], Target], modules: Sequence[str]) -> None:
    import atheris  # only here: nothing else needs it

    with atheris.instrument_imports(include=list(modules)):
        for name in modules:
            importlib.import_module(name)
        target = make()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        numbers = random.Random(seed)
        made = target.mutated(data, numbers) if numbers.random() < 0.5 else None
        return made if made is not None and len(made) <= most else bytes(atheris.Mutate(data, most))

    atheris.Setup(sys.argv, target.read, custom_mutator=mutate)
    atheris.Fuzz()


def main(make: Callable[[], Target], modules: Sequence[str]) -> None:
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(__doc__)
    if arguments[0] == "--begin":
        begin(make(), Path(arguments[1]))
    elif arguments[0].startswith("-"):
        guided(make, modules)
    elif Path(arguments[0]).is_file():
        make().read(Path(arguments[0]).read_bytes())
    else:
        blind(make(), float(arguments[0]), int(arguments[1]) if len(arguments) > 1 else None)
