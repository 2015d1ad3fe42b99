"""Looks into the machine code of libraries or objects for what no host can show: cuda_sass.py CUOBJDUMP FILE...

Kernels that are made of certain instructions must have them, in the form that they were written for, and none of local
memory: an array that the compiler could not keep in registers costs more than a spill.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import finish

# Kernel, what it must have: the sign of a byte eight times (4-bit codes), products on the tensor cores, loads of 16
# bytes, shuffles of trellis codes, products of four bytes; what fetches ahead, copies into shared memory that nobody
# waits for at once, and matrices out of it, as they are and turned.
MUST_HAVE = {
    "attend_tiles": [
        r"PRMT [^;]*0xba98",
        r"IMMA\.16832\.S8\.S8",
        r"HMMA\.16816\.F32",
        r"LDG\.E\.128",
        r"SHFL\.IDX",
        r"MUFU\.EX2",
        r"CCTL\.E\.PF2",
    ],
    "attend_halves": [
        r"HMMA\.16816\.F32",
        r"LDGSTS\.E\.BYPASS\.128",
        r"LDSM\.16\.M88\.4",
        r"LDSM\.16\.MT88\.4",
        r"MUFU\.EX2",
    ],
    "gemv_kernel": [r"IDP\.4A\.S8\.S8", r"LDGSTS\.E\.(64|BYPASS\.128)"],
    "gemv_floats_kernel": [r"LDGSTS\.E\.BYPASS\.128"],
    "mma_product": [r"IMMA\.16(832|816)\.S8\.S8", r"LDGSTS\.E\.(64|BYPASS\.128)"],
    "dequantise_kernel": [r"STG\.E\.128"],
    "seal_search": [r"SHFL\.IDX", r"VOTE\.|VOTEU"],
}
NO_LOCAL_MEMORY = re.compile(
    r"^(attend_tiles|attend_halves|attend_plain|expand_blocks|gemv_kernel|gemv_floats_kernel|mma_product|take_in|seal_prepare|seal_search|"
    r"rms_norm_kernel)\b"
)
# Of kernels that may start before the one ahead of them has ended (launch_early), where devices can: they wait for it,
# and let the next one start.
EARLY = re.compile(
    r"^(gemv_kernel|gemv_floats_kernel|take_in|merge_states|rms_norm_kernel|silu_mul_kernel|quantise_kernel)\b"
)
EARLY_MUST_HAVE = (r"ACQBULK", r"PREEXIT")
# Of kernels whose last block goes on with what the others made: a block's writes are there before it is counted, and
# the first cache is emptied before it reads what others wrote.
LAST = re.compile(r"^(gemv_kernel|gemv_floats_kernel|attend_tiles|attend_plain)\b|^attend_halves<\d+, (1|true),")
LAST_IN_ORDER = (r"MEMBAR\.\w+\.GPU", r"ATOMG\.E\.ADD\.STRONG\.GPU", r"MEMBAR\.\w+\.GPU", r"CCTL\.IVALL")
STALE = re.compile(r"\bLDG\.\S*CONSTANT")  # what it reads need not be what others wrote
LOCAL = re.compile(r"\b(STL|LDL)\b")
ARCHITECTURE = re.compile(r"^arch = sm_(\d+)")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(.*?;)")


def functions(dump: str) -> Iterator[tuple[int, str, list[str]]]:
    """Architectures, names as they are in the file, and instructions."""
    architecture, name, lines = 0, "", []
    for line in dump.splitlines():
        if found := ARCHITECTURE.match(line):
            if name:
                yield architecture, name, lines
            architecture, name = int(found[1]), ""
        elif found := FUNCTION.match(line):
            if name:
                yield architecture, name, lines
            name, lines = found[1], []
        elif found := INSTRUCTION.match(line):
            lines.append(found[1])
    if name:
        yield architecture, name, lines


def kernel_name(mangled: str) -> str:
    """attend_tiles<128>, say."""
    text = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout.strip()
    text = re.sub(r"\((int|bool|[\w:]+)\)", "", text)
    return re.sub(r"\(.*", "", re.sub(r"^void |spectralkv::(cuda::|device_kv::)?", "", text))


def faults_of_last(name: str, code: list[str]) -> Iterator[str]:
    at = 0
    for pattern in LAST_IN_ORDER:
        found = next((i for i in range(at, len(code)) if re.search(pattern, code[i])), None)
        if found is None:
            yield f"{name} has no {pattern} where its last block goes on: {' ... '.join(LAST_IN_ORDER)}"
            return
        at = found + 1
    if any(STALE.search(line) for line in code[at:]):
        yield f"{name} reads by the way of constants behind what others wrote"


def faults_of(architecture: int, name: str, code: list[str]) -> Iterator[str]:
    early = EARLY_MUST_HAVE if architecture >= 90 and EARLY.match(name) else ()
    for pattern in (*MUST_HAVE.get(name.split("<")[0], []), *early):
        if not any(re.search(pattern, line) for line in code):
            yield f"{name} has no {pattern}"
    if LAST.match(name):
        yield from faults_of_last(name, code)
    local = sum(1 for line in code if LOCAL.search(line))
    if local and NO_LOCAL_MEMORY.match(name):
        yield f"{name} has {local} instructions of local memory"


def main() -> None:
    cuobjdump, files = sys.argv[1], sys.argv[2:]
    faults, seen, counts = [], set(), []
    for file in files:
        dump = subprocess.run([cuobjdump, "-sass", file], capture_output=True, text=True, check=True).stdout
        for architecture, mangled, code in functions(dump):
            name = kernel_name(mangled)
            seen.add(name.split("<")[0])
            faults += faults_of(architecture, name, code)
            counts.append(f"{len(code):8} {name}")
    faults += [
        f"no kernel {name} in {', '.join(Path(f).name for f in files)}" for name in MUST_HAVE if name not in seen
    ]
    print("\n".join(sorted(counts)))
    finish("CUDA machine code", faults, f"{len(counts)} kernels have what they are written for")


if __name__ == "__main__":
    main()
