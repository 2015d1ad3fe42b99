"""Checks the include graph: a file of cpp/ROOM includes only from its own room or from a lower floor."""

from __future__ import annotations

import re
from collections.abc import Iterator

from common import finish, project_files, read

FLOORS = {
    "base": 0,
    "formats": 1,
    "simd": 2,
    "tensor": 2,
    "gguf": 3,
    "tokenizer": 3,
    "linalg": 3,
    "spectral": 4,
    "quant": 4,
    "kv": 5,
    "backend": 6,
    "model": 7,
    "engine": 8,
    "measure": 9,
    "cli": 10,
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def simd_faults(name: str, own: str, system: str) -> Iterator[str]:
    """Objects that are compiled for one instruction set must hold no inline function that others could be linked to."""
    if own and not (own.startswith(("simd/", "formats/")) or own in ("base/half.h", "base/host_device.h")):
        yield f"{name} includes {own}: simd may take its own files, formats', base/half.h and base/host_device.h"
    if system and not system.endswith(".h"):
        yield f"{name} includes <{system}>: no C++ library in what is compiled for one instruction set"


def faults() -> Iterator[str]:
    for path in project_files(".h", ".cc", ".inl", ".def", ".cu", ".cuh"):
        if path.parts[0] == "cpp":
            room = path.parts[1]
        elif path.parts[0] == "cuda":
            room = "backend"  # the same floor as the CPU backend
        else:
            continue
        if room not in FLOORS:
            yield f"{path}: the room {room} has no floor"
            continue
        for own, system in INCLUDE.findall(read(path)):
            if room == "simd" and path.stem != "dispatch":
                yield from simd_faults(str(path), own, system)
            if not own:
                continue
            other = own.partition("/")[0]
            if other in FLOORS:
                if other != room and FLOORS[other] >= FLOORS[room]:
                    yield f"{path} (floor {FLOORS[room]}) includes {own} (floor {FLOORS[other]})"
            elif other == "tests":
                yield f"{path} includes {own}: what is delivered does not need its tests"
            elif path.parts[0] == "cpp":
                yield f'{path} includes "{own}": write the room in front, "ROOM/FILE"'


if __name__ == "__main__":
    finish("floors", faults(), f"every include stays in its room or goes down ({len(FLOORS)} rooms)")
