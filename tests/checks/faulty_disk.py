"""Writers on a disk that fails: the old file or the new one stays, whole, and an error names the file.

`python tests/checks/faulty_disk.py [POINTS] [KIND...]` has each writer write while one of its calls fails: open, write,
sendfile, fsync, ftruncate, rename, mkdir, close, of files in one folder; faulty_disk.c, preloaded, counts and fails
them. POINTS (30) of its calls, spread evenly, 0 for all, once with a disk that is full from there on and once with an
input/output error of that call alone. After each the file must be one of its contents, byte for byte, nothing else may
lie in its folder, and a writer that said nothing must have written. Commands must end with 1 and name the file on
standard error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))
from kill import Files, files_of, prepare, writer_of
from support.file_server import Served, serving
from support.tiny_model import write_tiny_model

FAULTS = ((errno.ENOSPC, True), (errno.EIO, False))
COMMANDS = {
    "kl-base": ["perplexity", "-m", "{model}", "-f", "{text}", "-c", "64", "-ctk", "f16", "--kl-base", "{target}"],
    "calibrate": ["calibrate", "-m", "{model}", "-f", "{text}", "-o", "{target}"],
    "fidelity": ["fidelity", "-m", "{model}", "-f", "{text}", "-c", "256", "-ctk", "q8_0", "--json", "{target}"],
    "prompt-cache": ["run", "-m", "{model}", "-no-cnv", "-p", "{words}", "-n", "1", "--prompt-cache", "{target}"],
    "quantize": ["quantize", "{model}", "{target}", "{type}", "--force"],
}
WRITERS = ("save", "spill", "convert", "pull", "eval")
SILENT = ("spill",)  # what cannot be kept is forgotten, as without a folder
# A prompt cache that cannot be written at the beginning stays as it is, and that is told.
TOLD = "it will not be renewed"
# What `pull` has fetched stays for the next one.
KEPT = ("pull.lock", "model.gguf.part", "model.gguf.part.json")


def command_of(kind: str, folder: Path) -> Callable[[int], None]:
    """Runs it in this process; OSError for a status that is not 0, with what it said."""
    from spectralkv import cli

    def run(number: int) -> None:
        values = {
            "model": str(folder / "tiny.gguf"),
            "text": str(folder / f"text{number % 2}"),
            "target": str(folder / "out" / "target"),
            "words": "hello the in " * (4 + number % 2),
            "type": ("Q8_0", "F16")[number % 2],
        }
        kept = os.dup(2)
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                status = cli.main([word.format(**values) for word in COMMANDS[kind]])
            except SystemExit as end:
                status = int(end.code or 0)
            finally:
                sys.stderr.flush()
                os.dup2(kept, 2)
                os.close(kept)
            said.seek(0)
            words = said.read().decode(errors="replace")
        if TOLD in words:
            raise OSError(words)
        if status:
            raise OSError(f"{words} (status {status})" if status == 1 else f"ended with {status}: {words}")

    return run


def lines_of(files: Files) -> set[bytes]:
    return {line for data in files.values() for line in data.splitlines(keepends=True)}


def spread(n: int, points: int) -> list[int]:
    return (
        list(range(n)) if points == 0 or n <= points else sorted({i * (n - 1) // (points - 1) for i in range(points)})
    )


def check(kind: str, folder: Path, points: int) -> tuple[list[str], int]:
    """In a process of its own, with the layer preloaded; faults, and how often the disk failed."""
    layer = ctypes.CDLL(None)
    out = folder / "out"
    layer.faulty_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    layer.faulty_calls.restype = ctypes.c_long
    write = command_of(kind, folder) if kind in COMMANDS else writer_of(kind, folder)
    named = str(out / "spectralkv" if kind == "pull" else out / "target")  # `pull` names the folder
    whole: list[Files] = []
    for number in (0, 1):
        layer.faulty_arm(os.fsencode(out), -1, 0, 0)
        write(number)
        calls = int(layer.faulty_calls())
        whole.append(files_of(kind, folder))
    faults, failed = [], 0
    for at in spread(calls, points):
        for error, lasting in FAULTS:
            write(1)
            before = files_of(kind, folder)
            layer.faulty_arm(os.fsencode(out), at, error, lasting)
            said = None
            try:
                write(0)
            except Exception as raised:
                said = f"{raised} {getattr(raised, 'filename', '')}"
            struck = layer.faulty_calls() > at
            layer.faulty_arm(b"", -1, 0, 0)
            failed += struck
            where = f"{kind}, call {at + 1} of {calls}, {errno.errorcode[error]}"
            after = files_of(kind, folder)
            if kind == "eval":
                if not lines_of(before) <= lines_of(after):
                    faults.append(f"{where}: records are lost")
            elif any((name, data) not in [*whole[0].items(), *whole[1].items()] for name, data in after.items()):
                faults.append(f"{where}: a file of no version")
            elif not after and kind not in SILENT:
                faults.append(f"{where}: the file is gone")
            if said is None and struck and kind not in SILENT and kind != "eval" and after != whole[0]:
                faults.append(f"{where}: no error, and the old file")
            if said is not None and (named not in said or "ended with" in said):
                faults.append(f"{where}: an error that does not name the file, or a wrong status: {said}")
            known = {Path(name) for name in after}
            more = [
                path.name for path in out.rglob("*") if path.is_file() and path not in known and path.name not in KEPT
            ]
            if more:
                faults.append(f"{where}: left behind: {', '.join(more)}")
    return faults, failed


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    faults, total = [], 0
    with tempfile.TemporaryDirectory(prefix="spectralkv-faulty-") as name, serving() as server:
        layer = Path(name) / "faulty_disk.so"
        source = ROOT / "tests" / "checks" / "faulty_disk.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", source, "-o", layer, "-ldl"], check=True)
        server.files["/model.gguf"] = Served(write_tiny_model(Path(name) / "m.gguf").read_bytes())
        for kind in sys.argv[2:] or (*WRITERS, *COMMANDS):
            folder = Path(name) / kind
            folder.mkdir()
            if kind in COMMANDS:
                (folder / "out").mkdir()
                write_tiny_model(folder / "tiny.gguf", context_length=1024)
            else:
                prepare(kind, folder, server.url)
            for number in (0, 1):
                (folder / f"text{number}").write_text("hello the in on a " * (200 + 20 * number))
            command = [sys.executable, __file__, "--check", kind, str(folder), str(points)]
            environment = {**os.environ, "LD_PRELOAD": str(layer), "XDG_CACHE_HOME": str(folder / "out")}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                faults.append(f"{kind}: the check itself ended with {done.returncode}: {done.stderr[-600:]}")
                continue
            *found, struck = (folder / "result").read_text().splitlines()
            print(f"faulty_disk: {kind}: the disk failed {struck} times", flush=True)
            total += int(struck)
            faults += found
    finish("faulty_disk", faults, f"{total} failures of the disk: old files or new ones, and an error that names them")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        told, count = check(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        (Path(sys.argv[3]) / "result").write_text("\n".join([*(" ".join(line.split()) for line in told), str(count)]))
    else:
        main()
