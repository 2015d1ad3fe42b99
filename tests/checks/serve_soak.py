"""A server under misuse: clients that ask, go away, send nonsense or give too little time; every answer is compared.

`python tests/checks/serve_soak.py [SECONDS] [CLIENTS]` (180 s and 64 clients). What a request gets must be what it gets
alone; memory must not grow once the first fifth of the time has filled the caches; at the end nothing runs or waits,
and without the server no block of a cache is left.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from common import ROOT, finish

sys.path.insert(0, str(ROOT / "tests"))
from support.serving import Running, serving
from support.tiny_model import write_tiny_model

from spectralkv import _core

KINDS = 40  # different requests, so that answers can be compared
GROWTH = 48  # MiB that the allocator may still take
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2, 3]}}, "required": ["a"], "additionalProperties": False}


def request(kind: int) -> dict[str, Any]:
    """The request of a number: prompts that begin alike, seeds, greedy ones, some constrained."""
    body: dict[str, Any] = {
        "prompt": "the hello in there " * (1 + kind % 3) + str(kind) * (kind % 5),
        "max_tokens": 8 + kind % 40,
        "temperature": 0 if kind % 4 == 0 else 1.2,
        "seed": kind,
        "n": 1 + (kind % 7 == 0),
    }
    if kind % 6 == 0:
        body |= {"response_format": {"type": "json_object", "schema": SCHEMA}, "max_tokens": 200}
    return body


def texts(answer: httpx.Response) -> list[str]:
    return [choice["text"] for choice in answer.json()["choices"]]


def resident() -> float:
    """MiB of this process, the server's too."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def one(
    client: httpx.AsyncClient, alone: dict[int, list[str]], numbers: random.Random, counts: Counter[str]
) -> None:
    kind, fate = numbers.randrange(KINDS), numbers.random()
    body = request(kind)
    try:
        if fate < 0.1:
            counts["went away"] += 1
            await client.post("/v1/completions", json={**body, "max_tokens": 900, "ignore_eos": True}, timeout=0.05)
        elif fate < 0.2:
            counts["left a stream"] += 1
            async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as stream:
                async for _ in stream.aiter_lines():
                    break
        elif fate < 0.3:
            answer = await client.post(
                "/v1/completions", content=numbers.randbytes(200), headers={"Content-Type": "application/json"}
            )
            counts["nonsense" if answer.status_code == 400 else f"nonsense gave {answer.status_code}"] += 1
        elif fate < 0.4:
            answer = await client.post("/v1/completions", json={**body, "timeout": 0.01})
            counts["little time" if answer.status_code in (200, 408) else f"little time gave {answer.status_code}"] += 1
        else:
            answer = await client.post("/v1/completions", json=body)
            if answer.status_code == 503:
                counts["busy"] += 1
            else:
                right = answer.status_code == 200 and texts(answer) == alone[kind]
                counts["right" if right else f"WRONG: {kind}"] += 1
    except httpx.TimeoutException:
        counts["timeouts"] += 1


async def soak(server: Running, seconds: float, clients: int) -> tuple[Counter[str], float]:
    """What became of the requests, and the MiB by which memory grew."""
    counts: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        alone = {}
        for kind in range(KINDS):
            answer = await client.post("/v1/completions", json={**request(kind), "cache_prompt": False})
            alone[kind] = texts(answer)
        begun = time.monotonic()
        filled = 0.0

        async def work(number: int) -> None:
            nonlocal filled
            numbers = random.Random(number)
            while (passed := time.monotonic() - begun) < seconds:
                if filled == 0 and passed > seconds / 5:
                    filled = resident()
                await one(client, alone, numbers, counts)

        await asyncio.gather(*(work(number) for number in range(clients)))
    return counts, resident() - filled


def faults() -> Iterator[str]:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 180
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "tiny.gguf", context_length=1024)
        # So little that requests wait for room and kept sequences go.
        with serving(str(model), n_parallel=16, cache_bytes=3 << 17) as server:
            counts, growth = asyncio.run(soak(server, seconds, clients))
            stats = server.service.worker.scheduler.stats()
            told = {name: stats[name] for name in ("requests", "steps", "preemptions", "kept", "cancelled", "expired")}
            print(dict(sorted(counts.items())), told, f"memory grew by {growth:.1f} MiB")
            yield from (
                f"{name}, {n} times" for name, n in counts.items() if name.startswith("WRONG") or "gave" in name
            )
            if counts["right"] == 0:
                yield "no answer was compared"
            if growth > GROWTH:
                yield f"memory grew by {growth:.1f} MiB"
            if not server.idle():
                yield f"requests are left: {server.service.worker.scheduler.stats()}"
            engine = server.service.engine
        del server  # and its scheduler, whose kept sequences hold blocks
        gc.collect()
        if left := _core.Scheduler(engine).stats()["cache_bytes"]:
            yield f"{left} bytes of blocks are left that nobody holds"


if __name__ == "__main__":
    finish("serve_soak", faults(), "every answer as alone, nothing is left")
