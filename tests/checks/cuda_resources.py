"""Reads registers, shared memory and spills of all kernels from what ptxas -v printed: cuda_resources.py LOG.

A kernel of attention, of products with weights or of a search while sealing that spills is a fault.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common import finish

MUST_NOT_SPILL = re.compile(
    r"\b(gemv|mma_product|attend|attention|append_rows|enter_queries|take_in|merge_states|seal_prepare)\w*"
)
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class Kernel(NamedTuple):
    name: str
    target: str
    registers: int
    shared: int
    frame: int
    spills: int


def kernels(log: str) -> Iterator[Kernel]:
    entry, frame = None, None
    for line in log.splitlines():
        if found := ENTRY.search(line):
            entry = found
        elif found := FRAME.search(line):
            frame = found
        elif entry and frame and (found := USED.search(line)):
            shared = SHARED.search(line)
            spills = int(frame[2]) + int(frame[3])
            yield Kernel(entry[1], entry[2], int(found[1]), int(shared[1]) if shared else 0, int(frame[1]), spills)
            entry = frame = None


def readable(names: list[str]) -> list[str]:
    """Without the namespaces; as they are where there is no c++filt."""
    try:
        out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return names
    noise = r"spectralkv::(cuda::|device_kv::)?|^void |\((int|bool|[\w:]*Kind|[\w:]*Narrow)\)|skv_block_|, &[^>]*"
    return [re.sub(r"(>|^\w+)\(.*", r"\1", re.sub(noise, "", line)) for line in out.splitlines()]


def main() -> None:
    found = list(kernels(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace")))
    if not found:
        finish("CUDA resources", ["the log has no line of ptxas -v"], "")
    names = readable([kernel.name for kernel in found])
    faults = []
    print(f"{'kernel':90} target  registers  static shared  stack  spills")
    for name, k in sorted(zip(names, found, strict=True)):
        print(f"{name[:90]:90} {k.target:6} {k.registers:10} {k.shared:14} {k.frame:6} {k.spills:7}")
        if k.spills and MUST_NOT_SPILL.search(name):
            faults.append(f"{name} for {k.target} spills {k.spills} bytes")
    finish("CUDA resources", faults, f"{len(found)} kernels, no spills in attention and products")


if __name__ == "__main__":
    main()
