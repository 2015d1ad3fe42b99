"""Checks the include graph: a file of cpp/ROOM includes from its own room or from a lower floor of cpp/floors.txt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from common import finish, project_files, read

LIST, TABLE = Path("cpp/floors.txt"), Path("CONTRIBUTING.md")


def floors() -> dict[str, int]:
    """Rooms and their floors, in the order of the list."""
    rows = [line.split() for line in read(LIST).splitlines() if line and not line.startswith("#")]
    return {room: int(floor) for floor, room in rows}


FLOORS = floors()
PUBLIC = Path("cpp/spectralkv.h")  # what other programs include: of no room
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def simd_faults(name: str, own: str, system: str) -> Iterator[str]:
    """Objects that are compiled for one instruction set must hold no inline function that others could be linked to."""
    if own and not (own.startswith(("simd/", "formats/")) or own in ("base/half.h", "base/host_device.h")):
        yield f"{name} includes {own}: simd may take its own files, formats', base/half.h and base/host_device.h"
    if system and not system.endswith(".h"):
        yield f"{name} includes <{system}>: no C++ library in what is compiled for one instruction set"


def list_faults() -> Iterator[str]:
    """The list against the folders and against the table that people read."""
    if list(FLOORS.values()) != sorted(FLOORS.values()):
        yield f"{LIST}: the floors must rise from line to line"
    folders = {path.parts[1] for path in project_files() if path.parts[0] == "cpp" and len(path.parts) > 2}
    for room in sorted(FLOORS.keys() - folders):
        yield f"{LIST} names {room}, but there is no cpp/{room}"
    told = {room: int(floor) for floor, room in re.findall(r"^\| (\d+) \| `cpp/(\w+)`", read(TABLE), re.MULTILINE)}
    for room in sorted(FLOORS.keys() | told.keys()):
        if FLOORS.get(room) != told.get(room):
            yield f"{room} stands on floor {FLOORS.get(room)} in {LIST} and on {told.get(room)} in {TABLE}'s table"


def faults() -> Iterator[str]:
    yield from list_faults()
    for path in project_files(".h", ".cc", ".inl", ".def", ".cu", ".cuh"):
        if path == PUBLIC:
            yield from (
                f'{path} includes "{own}": it is to stand alone' for own, _ in INCLUDE.findall(read(path)) if own
            )
            continue
        if path.parts[0] == "cpp":
            room = path.parts[1]
        elif path.parts[0] == "cuda":
            room = "backend"  # the same floor as the CPU backend
        else:
            continue
        if room not in FLOORS:
            yield f"{path}: the room {room} has no line in {LIST}"
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
            elif path.parts[0] == "cpp" and own != PUBLIC.name:
                yield f'{path} includes "{own}": write the room in front, "ROOM/FILE"'


if __name__ == "__main__":
    finish("floors", faults(), f"every include stays in its room or goes down ({len(FLOORS)} rooms)")
