"""Every truncation, and random changes, of a tiny file of each format: an error with words, or a file that is read.

`python tests/checks/mutations.py [N] [FORMAT...]` makes N (1000) changes of each format: model, vocabulary, state
(length and checksum put right again, so that the numbers behind them are reached), checkpoint. Each format is read in
a process of its own; one that dies fails the check, and the file that it read is kept. From 10000 on all truncations
are read.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))

MASK, MIX = (1 << 64) - 1, 0x9E3779B97F4A7C15
Read = Callable[[Path], object]
REFUSALS = (ValueError, OSError, MemoryError)


def sealed(data: bytes) -> bytes:
    """A state file with its length and checksum put right (kv/state_file.h)."""
    body = data[:-16]
    body += (len(body) + 16).to_bytes(8, "little")
    value = MIX
    for at in range(0, len(body), 8):
        value = ((value ^ int.from_bytes(body[at : at + 8], "little")) * MIX) & MASK
        value ^= value >> 32
    return body + value.to_bytes(8, "little")


def model_format(folder: Path) -> tuple[bytes, Read]:
    from support.tiny_model import write_tiny_model

    from spectralkv import _core

    data = write_tiny_model(folder / "seed.gguf", n_layers=1, n_vocab=270, n_embd=32, n_ff=32).read_bytes()

    def read(path: Path) -> None:
        engine = _core.Engine(str(path), n_threads=1)
        session = _core.Session(engine, n_ctx=8, type_k="f16", type_v="f16")
        session.eval([1, 2])

    return data, read


def vocabulary_format(folder: Path) -> tuple[bytes, Read]:
    from support.tiny_model import write_tiny_model

    from spectralkv import _core

    data = write_tiny_model(folder / "seed.gguf", n_layers=1, n_vocab=300).read_bytes()
    end = data.index(b"token_embd.weight") - 8  # what the metadata ends before

    def read(path: Path) -> None:
        path.write_bytes(path.read_bytes() + data[end:])
        tokenizer = _core.Tokenizer.from_file(str(path))
        ids = tokenizer.encode_marked_prompt(tokenizer.mark_plain("the hello <|im_end|> caf\u00e9".encode()))
        tokenizer.decode(ids, True)

    return data[:end], read


def state_format(folder: Path) -> tuple[bytes, Read]:
    from support.tiny_model import write_tiny_model

    from spectralkv import _core

    engine = _core.Engine(str(write_tiny_model(folder / "seed.gguf", n_layers=1)), n_threads=1)
    types = {"type_k": "eoptshrinkq:2,block=16,sink=4,window=16", "type_v": "turboquant:3,block=16,sink=4,window=16"}
    session = _core.Session(engine, n_ctx=128, **types)
    session.eval([3 + i % 200 for i in range(70)])
    session.save_state(folder / "seed.state")

    def read(path: Path) -> None:
        path.write_bytes(sealed(path.read_bytes()))
        session.load_state(path)
        session.eval([1, 2])

    return (folder / "seed.state").read_bytes(), read


def checkpoint_format(folder: Path) -> tuple[bytes, Read]:
    from support.hf_checkpoint import write_hf

    from spectralkv.convert import ConvertOptions, convert

    checkpoint = write_hf(folder / "hf", n_layers=1, n_embd=32, n_ff=32, n_heads=2, n_kv_heads=1)
    target = checkpoint / "model.safetensors"

    def read(path: Path) -> None:
        target.write_bytes(path.read_bytes())
        convert(checkpoint, folder / "out.gguf", ConvertOptions(outtype="f32", force=True, quiet=True, n_threads=1))

    return target.read_bytes(), read


FORMATS = {
    "model": model_format,
    "vocabulary": vocabulary_format,
    "state": state_format,
    "checkpoint": checkpoint_format,
}


def mutated(data: bytes, numbers: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(1 + numbers.randrange(4)):
        # The beginnings of files have what others hang on.
        most = min(len(out), 512) if numbers.random() < 0.3 else len(out)
        at, n = numbers.randrange(most), 1 + numbers.randrange(16)
        kind = numbers.randrange(6)
        if kind == 0:
            out[at] ^= 1 << numbers.randrange(8)
        elif kind == 1:
            out[at : at + n] = numbers.randbytes(len(out[at : at + n]))
        elif kind == 2:
            out[at : at + n] = bytes([numbers.choice((0, 255, 127, 128))]) * len(out[at : at + n])
        elif kind == 3:
            del out[at : at + n]
        elif kind == 4:
            out[at:at] = out[at : at + n]
        else:
            other = numbers.randrange(len(out))
            out[at : at + n] = out[other : other + n]
        if not out:
            break
    return bytes(out)


def read_all(name: str, n: int, folder: Path) -> None:
    """In a process of its own; says how many files were refused."""
    data, read = FORMATS[name](folder)
    numbers, path, refused = random.Random(n), folder / "mutated", 0
    lengths = range(len(data)) if n >= 10_000 else sorted(numbers.sample(range(len(data)), min(len(data), n)))
    for number in range(n + len(lengths)):
        path.write_bytes(data[: lengths[number]] if number < len(lengths) else mutated(data, numbers))
        try:
            read(path)
        except REFUSALS as error:
            refused += 1
            if not str(error):
                raise AssertionError(f"{name}: an error without words") from error
    print(f"{len(lengths)} truncations and {n} changes, {refused} refused")


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    faults = []
    for name in sys.argv[2:] or FORMATS:
        with tempfile.TemporaryDirectory(prefix="spectralkv-mutations-") as folder:
            command = [sys.executable, __file__, "--read", name, str(n), folder]
            result = subprocess.run(command, capture_output=True, text=True, errors="replace")
            if result.returncode == 0:
                print(f"mutations: {name}: {result.stdout.strip()}", flush=True)
                continue
            kept = Path(tempfile.gettempdir()) / f"mutated-{name}"
            kept.write_bytes((Path(folder) / "mutated").read_bytes())
            last = (result.stderr.strip().splitlines() or ["no word"])[-1]
            faults.append(f"{name}: ended with {result.returncode} ({last}); the file is kept: {kept}")
    finish("mutations", faults, "every file was read or refused")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read_all(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
