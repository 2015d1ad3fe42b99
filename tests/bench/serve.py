"""A server under load beside llama_cpp.server: tokens per second, time to first token, time between tokens, memory.

    python tests/bench/serve.py [-m MODEL] [--llama-cpp PYTHON] [--clients 1,4,16] [--rounds 2]

Every client asks its own questions behind one system prompt of about a thousand tokens. Closed load: each client asks
again as soon as it has its answer. Open load (--rate): requests come by a Poisson process, whether or not others have
ended. Both servers run all the time and are asked in turns. PYTHON is an interpreter with `llama-cpp-python[server]`;
without it only ours is measured. Before that, both must know the colour of the sky and count the same prompt alike, and
ours must answer many at a time as it answers each alone. Needs httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import httpx

TOPICS = ("rivers", "bread", "clocks", "maps", "bridges", "glass", "salt", "ships", "wool", "stars", "ink", "roads")
RULES = " ".join(
    f"Rule {i}: when somebody asks about {topic}, be exact, name sources, give an example of {other}, and be brief."
    for i, (topic, other) in enumerate(zip(TOPICS * 3, (TOPICS[1:] + TOPICS[:1]) * 3, strict=True))
)


@dataclass
class Server:
    """A server that runs. memory: the largest that its process has had, in MiB."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def memory(self) -> float:
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


@dataclass
class Load:
    """What one load gave; times in seconds."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    tokens: int = 0
    failed: int = 0
    seconds: float = 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(name: str, command: Sequence[str], port: int, log: IO[bytes]) -> Server:
    process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5).raise_for_status()
            return Server(name, process, port)
        except httpx.HTTPError:
            if process.poll() is not None:
                sys.exit(f"{name} did not start: see {log.name}")
            time.sleep(0.2)
    process.terminate()
    sys.exit(f"{name} does not answer: see {log.name}")


def request(number: int, tokens: int) -> dict[str, Any]:
    return {
        "model": "any",
        "messages": [
            {"role": "system", "content": RULES},
            {"role": "user", "content": f"Question {number}: tell me about {TOPICS[number % len(TOPICS)]}."},
        ],
        "max_tokens": tokens,
        "temperature": 0.7,
        "seed": number,
    }


async def verify(servers: Sequence[Server], tokens: int) -> None:
    """Exits where a server does not do what is to be measured."""
    counts = {}
    for server in servers:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=600) as client:

            async def answer(body: dict[str, Any], client: httpx.AsyncClient = client) -> dict[str, Any]:
                got = await client.post("/v1/chat/completions", json=body)
                return dict(got.raise_for_status().json())

            question = [{"role": "user", "content": "What color is the sky?"}]
            given = await answer({"model": "any", "messages": question, "max_tokens": 24, "temperature": 0})
            if "blue" not in (text := given["choices"][0]["message"]["content"]):
                sys.exit(f"{server.name} says of the sky: {text!r}")
            bodies = [request(number, tokens) for number in range(8)]
            alone = [await answer(body) for body in bodies[: 8 if server is servers[0] else 1]]
            counts[server.name] = alone[0]["usage"]["prompt_tokens"]
            if server is servers[0]:
                together = await asyncio.gather(*map(answer, bodies))
                if [a["choices"] for a in together] != [a["choices"] for a in alone]:
                    sys.exit(f"{server.name} answers many at a time otherwise than each alone")
    if len(set(counts.values())) != 1:
        sys.exit(f"the servers count the same prompt differently: {counts}")
    print(f"verified; a prompt has {min(counts.values())} tokens\n")


async def ask(client: httpx.AsyncClient, number: int, tokens: int, load: Load) -> None:
    body = {**request(number, tokens), "stream": True}
    begun = last = time.perf_counter()
    n = 0
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                choices = json.loads(line[6:]).get("choices") or [{}]
                if not choices[0].get("delta", {}).get("content"):
                    continue
                now = time.perf_counter()
                (load.first if n == 0 else load.between).append(now - (begun if n == 0 else last))
                last, n = now, n + 1
    except httpx.HTTPError:
        load.failed += 1
    load.tokens += n


async def closed(server: Server, clients: int, requests: int, tokens: int, numbers: random.Random) -> Load:
    load = Load()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=600, limits=limits) as client:

        async def one() -> None:
            for _ in range(requests):
                await ask(client, numbers.randrange(10**6), tokens, load)

        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        load.seconds = time.perf_counter() - begun
    return load


async def opened(server: Server, rate: float, requests: int, tokens: int, numbers: random.Random) -> Load:
    load = Load()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=600, limits=limits) as client:
        begun, running = time.perf_counter(), []
        for _ in range(requests):
            running.append(asyncio.create_task(ask(client, numbers.randrange(10**6), tokens, load)))
            await asyncio.sleep(numbers.expovariate(rate))
        await asyncio.gather(*running)
        load.seconds = time.perf_counter() - begun
    return load


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


def row(name: str, what: str, server: Server, loads: Sequence[Load]) -> str:
    first = [value for load in loads for value in load.first]
    between = [value for load in loads for value in load.between]
    speed = statistics.median(load.tokens / load.seconds for load in loads)
    failed = sum(load.failed for load in loads)
    return (
        f"| {name} | {what} | {speed:.1f} | {quantile(first, 0.5):.2f} / {quantile(first, 0.95):.2f} | "
        f"{1000 * quantile(between, 0.95):.0f} | {server.memory:.0f} | {failed} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-m", "--model", help="GGUF file (default: the demo model)")
    parser.add_argument("--llama-cpp", metavar="PYTHON", help="an interpreter with llama-cpp-python[server]")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clients", default="1,4,16", help="of the closed loads")
    parser.add_argument("--requests", type=int, default=2, help="of each client in a round")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer, at most")
    parser.add_argument("--rate", type=float, default=0, help="requests per second of an open load; 0: none")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    from spectralkv import pull

    model, threads = args.model or pull(), str(args.threads)
    with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as log:
        ours = [sys.executable, "-m", "spectralkv.cli", "serve", "-m", model, "-t", threads, "-np", "32"]
        servers = [start("spectralkv", ours, free_port(), log)]
        if args.llama_cpp:
            theirs = [args.llama_cpp, "-m", "llama_cpp.server", "--model", model, "--n_ctx", "4096"]
            theirs += ["--n_threads", threads, "--flash_attn", "true", "--interrupt_requests", "false"]
            servers.append(start("llama_cpp.server", theirs, free_port(), log))
        try:
            asyncio.run(verify(servers, args.tokens))
            print("| server | load | tokens per s | first token p50 / p95, s | between p95, ms | peak MiB | failed |")
            print("|---|---|---|---|---|---|---|")
            for clients in map(int, args.clients.split(",")):
                measure(
                    args,
                    servers,
                    f"{clients} clients",
                    lambda s, n, c=clients: closed(s, c, args.requests, args.tokens, n),
                )
            if args.rate > 0:
                count = max(int(args.rate * 30), 8)
                what = f"{args.rate:g} requests per s"
                measure(args, servers, what, lambda s, n: opened(s, args.rate, count, args.tokens, n))
        finally:
            for server in servers:
                server.process.terminate()
                server.process.wait(30)


Run = Callable[[Server, random.Random], Coroutine[Any, Any, Load]]


def measure(args: argparse.Namespace, servers: Sequence[Server], what: str, run: Run) -> None:
    """One load of each server in turns, and its rows."""
    loads: dict[str, list[Load]] = {server.name: [] for server in servers}
    for turn in range(args.rounds):
        for server in servers:
            loads[server.name].append(asyncio.run(run(server, random.Random(turn))))
    for server in servers:
        print(row(server.name, what, server, loads[server.name]), flush=True)


if __name__ == "__main__":
    main()
