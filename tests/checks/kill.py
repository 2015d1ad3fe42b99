"""Writers that are killed at random moments: what was there stays whole, and what they leave goes with the next one.

`python tests/checks/kill.py [N] [KIND...]` kills N (20) processes of each kind: save, spill, convert, quantize, pull,
eval. Each writes one path again and again, now one content, then another (spill: each under a name of its own, when the
other is gone); SIGKILL comes when it likes. After every kill the file must be one of the contents, byte for byte, or
for `eval` hold every record that was acknowledged; at the end, when a writer has ended well, nothing else may lie in
the folder.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))
from support.file_server import Served, serving
from support.hf_checkpoint import write_hf
from support.tiny_model import write_tiny_model

LONGEST = 0.25  # seconds between a writer's first word and its end
GIVE_UP = 120  # seconds for that first word
Write = Callable[[int], None]
Files = dict[str, bytes]  # by path


def writer_of(kind: str, folder: Path) -> Write:
    """What writes the target once; the number says which content."""
    target = folder / "out" / "target"
    if kind == "save":
        from spectralkv import _core

        engine = _core.Engine(str(folder / "tiny.gguf"), n_threads=1)
        session = _core.Session(engine, n_ctx=256, type_k="f16", type_v="f16")

        def save(number: int) -> None:
            session.reset()
            session.eval([3 + (i * (1 + number % 2)) % 300 for i in range(200)])
            session.save_state(target)

        return save
    if kind == "spill":
        from spectralkv import _core

        engine, kept = _core.Engine(str(folder / "tiny.gguf"), n_threads=1), folder / "out"

        def spill(number: int) -> None:
            for path in kept.glob("*.state"):
                path.unlink()
            running = _core.Scheduler(engine, n_ctx=256, type_k="f16", type_v="f16", kept_folder=str(kept))
            prompt = [3 + (i * (1 + number % 2)) % 300 for i in range(200)]
            running.submit(prompt, _core.SamplingOptions(temperature=0), max_tokens=2, ignore_end_tokens=True)
            while running.wait(0):
                running.step()

        return spill
    if kind == "convert":
        from spectralkv.convert import ConvertOptions, convert

        def make(number: int) -> None:
            name = ("one", "other")[number % 2]
            convert(folder / "hf", target, ConvertOptions(model_name=name, force=True, quiet=True, n_threads=1))

        return make
    if kind == "quantize":
        from spectralkv.quantize import QuantizeOptions, quantize

        def smaller(number: int) -> None:
            quantize(folder / "tiny.gguf", target, ("Q8_0", "F16")[number % 2], QuantizeOptions(force=True, quiet=True))

        return smaller
    if kind == "pull":
        from spectralkv.fetch.pull import pull

        address = (folder / "address").read_text()

        def fetch(number: int) -> None:
            pull(address, force=True)

        return fetch
    from spectralkv.evaluate.store import ResultFile

    def evaluate(number: int) -> None:
        with ResultFile(target, {"evaluation": "kill"}) as file:
            key = f"{random.getrandbits(64):x}"
            file.add({"key": key, "answer": "x" * 200})
            print(key, flush=True)  # acknowledged
            file.arrange()

    return evaluate


def run_writer(kind: str, folder: Path, most: int) -> None:
    """In a process of its own."""
    write = writer_of(kind, folder)
    for number in itertools.count():
        if number == most:
            return
        write(number)
        if number == 1:
            print("ready", flush=True)


def prepare(kind: str, folder: Path, server_url: Callable[[str], str]) -> None:
    (folder / "out").mkdir()
    if kind in ("save", "spill", "quantize"):
        write_tiny_model(folder / "tiny.gguf")
    elif kind == "convert":
        write_hf(folder / "hf")
    elif kind == "pull":
        (folder / "address").write_text(server_url("/model.gguf"))


def start(kind: str, folder: Path, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--writer", kind, str(folder), str(most)]
    environment = {"XDG_CACHE_HOME": str(folder / "out")} if kind == "pull" else {}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**ENVIRONMENT, **environment}
    )


def files_of(kind: str, folder: Path) -> Files:
    """What is there under the names that the writers give."""
    out = folder / "out"
    pattern = {"pull": "spectralkv/urls/*/model.gguf", "spill": "*.state"}.get(kind, "target")
    return {str(path): path.read_bytes() for path in out.glob(pattern)}


def contents(kind: str, folder: Path) -> set[tuple[str, bytes]]:
    """What the target may hold: written by writers that end well."""
    found: set[tuple[str, bytes]] = set()
    for most in (1, 2):
        with start(kind, folder, most) as process:
            process.communicate(timeout=GIVE_UP)
        if process.returncode:
            raise RuntimeError(f"a writer of {kind} failed")
        found.update(files_of(kind, folder).items())
    return found


def killed(kind: str, folder: Path, numbers: random.Random) -> list[str]:
    """Kills one; the words that it said."""
    with start(kind, folder, -1) as process:
        assert process.stdout is not None
        said = []
        while (line := process.stdout.readline().strip()) != "ready":
            if process.poll() is not None:
                raise RuntimeError(f"a writer of {kind} ended with {process.returncode}")
            said.append(line)
        time.sleep(numbers.random() * LONGEST)
        process.kill()
        rest = process.stdout.read().split("\n")
    return [word for word in (*said, *rest[:-1]) if word]  # the last line may be cut


def check(kind: str, n: int, numbers: random.Random, server_url: Callable[[str], str]) -> list[str]:
    faults = []
    with tempfile.TemporaryDirectory(prefix="spectralkv-kill-") as name:
        folder = Path(name)
        prepare(kind, folder, server_url)
        whole = contents(kind, folder) if kind != "eval" else set()
        keys: set[str] = set()
        for turn in range(n):
            keys.update(killed(kind, folder, numbers))
            files = files_of(kind, folder)
            if not files and kind != "spill":
                faults.append(f"{kind}, kill {turn + 1}: the file is gone")
            for item in files.items():
                if kind == "eval":
                    lines = item[1][: item[1].rfind(b"\n") + 1].splitlines()
                    lost = keys - {json.loads(line)["key"] for line in lines[1:]}
                    if lost:
                        faults.append(f"{kind}, kill {turn + 1}: {len(lost)} records are lost")
                elif item not in whole:
                    faults.append(f"{kind}, kill {turn + 1}: the file has {len(item[1])} bytes of no version")
        with start(kind, folder, 2) as process:
            process.communicate(timeout=GIVE_UP)
        files, names = files_of(kind, folder), [path for path in (folder / "out").rglob("*") if path.is_file()]
        left = [path.name for path in names if str(path) not in files and path.name != "pull.lock"]
        if left:
            faults.append(f"{kind}: the folder still holds {', '.join(sorted(left)[:4])}")
    return faults


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    kinds = sys.argv[2:] or ["save", "spill", "convert", "quantize", "pull", "eval"]
    numbers, faults = random.Random(n), []
    with tempfile.TemporaryDirectory() as name, serving() as server:
        server.files["/model.gguf"] = Served(write_tiny_model(Path(name) / "m.gguf").read_bytes())
        for kind in kinds:
            faults += check(kind, n, numbers, server.url)
    finish("kill", faults, f"{n} kills each of {', '.join(kinds)}: no half files, nothing lost, nothing left")


if __name__ == "__main__":
    import os

    ENVIRONMENT = dict(os.environ)
    if sys.argv[1:2] == ["--writer"]:
        run_writer(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
