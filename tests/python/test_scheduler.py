"""The scheduler as Python sees it: many requests, each with the answer that it gets alone, from any thread."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from support.tiny_model import TinyModel, write_tiny_model

from spectralkv import _core

N_VOCAB = 320
SPEC = "q8_0,block=64,window=32"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> _core.Engine:
    path = tmp_path_factory.mktemp("scheduler") / "tiny.gguf"
    write_tiny_model(path, TinyModel(n_vocab=N_VOCAB))
    return _core.Engine(str(path), n_threads=1)


def scheduler(engine: _core.Engine, **options: object) -> _core.Scheduler:
    return _core.Scheduler(engine, **({"n_ctx": 256, "type_k": SPEC, "type_v": SPEC} | options))  # type: ignore[arg-type]


def prompt(seed: int, n: int) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(3, N_VOCAB - 3, n)]


def alone(engine: _core.Engine, tokens: list[int], seed: int, n: int) -> list[tuple[int, float]]:
    session = _core.Session(engine, n_ctx=256, type_k=SPEC, type_v=SPEC)
    session.eval(tokens)
    generation = _core.Generation(
        session, _core.SamplingOptions(seed=seed), max_tokens=n, ignore_end_tokens=True, top_logprobs=1
    )
    return [(token.token, token.logprob) for token in iter(generation.next, None)]


def drain(running: _core.Scheduler) -> dict[int, list[_core.SchedulerEvent]]:
    events = defaultdict(list)
    while running.wait(0):
        for event in running.step():
            events[event.id].append(event)
    return events


def test_each_gets_what_it_gets_alone(engine: _core.Engine) -> None:
    running = scheduler(engine)
    shared = prompt(0, 120)
    asked = {}
    for i in range(12):
        tokens = shared + prompt(i + 1, 5 + 3 * i)
        number = running.submit(
            tokens, _core.SamplingOptions(seed=i), max_tokens=10 + i, ignore_end_tokens=True, top_logprobs=1
        )
        asked[number] = (tokens, i)
    events = drain(running)
    for number, (tokens, i) in asked.items():
        got = [(event.token.token, event.token.logprob) for event in events[number] if event.token]
        assert got == alone(engine, tokens, i, 10 + i)
        last = events[number][-1]
        assert (last.reason, last.error, last.rest) == ("length", "", "")
        assert last.timings["prompt_tokens"] == len(tokens)
        assert last.timings["decoded_tokens"] == 10 + i
        assert min(last.timings["queue_s"], last.timings["prompt_s"], last.timings["decode_s"]) >= 0
        assert all(event.reason == "" for event in events[number][:-1])
    stats = running.stats()
    assert stats["found"] == 11
    assert stats["cached_tokens"] >= 11 * 64
    assert stats["finished"] == stats["requests"] == 12
    assert 0 < stats["cache_bytes"] <= stats["budget_bytes"]


def test_masks_deadlines_and_cancellation(engine: _core.Engine) -> None:
    running = scheduler(engine)
    greedy = _core.SamplingOptions(temperature=0)
    words = np.zeros((N_VOCAB + 31) // 32, np.uint32)
    words[77 // 32] = 1 << (77 % 32)
    masked = running.submit(prompt(1, 9), greedy, max_tokens=3, allowed=words.tobytes())
    late = running.submit(prompt(2, 9), greedy, deadline_s=-1.0)
    gone = running.submit(prompt(3, 9), greedy, ignore_end_tokens=True)
    nothing = running.submit(prompt(4, 9), greedy, allowed=bytes(words.nbytes))
    assert running.cancel(gone)
    events = drain(running)
    assert [event.token.token for event in events[masked] if event.token] == [77, 77, 77]
    assert [event.reason for event in events[late]] == ["deadline"]
    assert [event.reason for event in events[gone]] == ["cancelled"]
    assert [event.reason for event in events[nothing]] == ["error"]
    assert "no token that could be sampled" in events[nothing][0].error
    assert not running.cancel(gone)
    assert not running.cancel(12345)
    assert not running.allow(masked, None)
    with pytest.raises(ValueError, match="words"):
        running.allow(masked, b"1234")
    with pytest.raises(TypeError, match="must be bytes"):
        running.allow(masked, "all")  # type: ignore[arg-type]


def test_refuses_by_name(engine: _core.Engine, tmp_path: Path) -> None:
    running = scheduler(engine)
    greedy = _core.SamplingOptions(temperature=0)
    for tokens, reason in [([], "without a prompt"), ([N_VOCAB], "320"), ([5] * 257, "257 tokens"), ([-1], "-1")]:
        with pytest.raises(ValueError, match=reason):
            running.submit(tokens, greedy)
    with pytest.raises(ValueError, match="a number of seconds"):
        running.submit([5], greedy, deadline_s=float("nan"))
    with pytest.raises(ValueError, match="the budget of 1000 bytes"):
        scheduler(engine, cache_bytes=1000).submit(prompt(1, 200), greedy, max_tokens=10)
    with pytest.raises(ValueError, match="folder"):
        scheduler(engine, kept_folder=tmp_path / "none")
    for wrong in ({"n_parallel": 0}, {"n_batch": 3}, {"type_k": "?"}, {"pause_s": 0.0}, {"n_ctx": -1}):
        with pytest.raises(ValueError, match="must be|cache type"):
            scheduler(engine, **wrong)
    assert running.stats()["requests"] == 0


def test_kept_sequences_in_files(engine: _core.Engine, tmp_path: Path) -> None:
    tokens = prompt(5, 130)
    slot = tmp_path / "slot"
    greedy = _core.SamplingOptions(temperature=0)
    running = scheduler(engine, kept_folder=tmp_path)
    running.submit(tokens, greedy, max_tokens=4, ignore_end_tokens=True)
    drain(running)
    assert running.stats()["kept_files"] > 0
    assert running.save(tokens, slot) == len(tokens)
    del running
    session = _core.Session(engine, n_ctx=256, type_k=SPEC, type_v=SPEC)
    session.load_state(slot)
    assert session.tokens == tokens
    for fresh in (scheduler(engine, kept_folder=tmp_path), scheduler(engine)):
        if fresh.stats()["kept_files"] == 0:
            assert fresh.load(slot) == tokens
        fresh.submit([*tokens, 9], greedy, max_tokens=1)
        (events,) = drain(fresh).values()
        assert events[-1].timings["cached_tokens"] == len(tokens)
    with pytest.raises(ValueError, match="no state file"):
        fresh.load(__file__)


def test_other_threads_ask_while_steps_run(engine: _core.Engine) -> None:
    running = scheduler(engine)
    numbers: list[int] = []

    def ask(seed: int) -> None:
        for i in range(5):
            numbers.append(running.submit(prompt(10 * seed + i, 20), _core.SamplingOptions(seed=i), max_tokens=8))
            time.sleep(0.001)
            if i == 3:
                running.cancel(numbers[-1])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    ended = 0
    give_up = time.monotonic() + 60
    while ended < 20 and time.monotonic() < give_up:
        running.wait(0.05)
        ended += sum(event.reason != "" for event in running.step())
    for thread in threads:
        thread.join()
    assert ended == 20
    assert len(set(numbers)) == 20


KILLED = """
import sys
from spectralkv import _core
engine = _core.Engine(sys.argv[1], n_threads=1)
running = _core.Scheduler(engine, n_ctx=256, type_k=sys.argv[3], type_v=sys.argv[3], kept_folder=sys.argv[2])
print("ready", flush=True)
seed = 0
while True:
    seed += 1
    tokens = [3 + (7 * seed + 11 * t * t) % 300 for t in range(200)]
    running.submit(tokens, _core.SamplingOptions(seed=seed), max_tokens=2, ignore_end_tokens=True)
    while running.wait(0):
        running.step()
    running.save(tokens, sys.argv[2] + "/slot")
"""


def test_a_killed_process_leaves_nothing_half_written(engine: _core.Engine, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, TinyModel(n_vocab=N_VOCAB))
    folder = tmp_path / "kept"
    folder.mkdir()
    for turn in range(4):
        command = [sys.executable, "-c", KILLED, str(path), str(folder), SPEC]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            before = len(list(folder.glob("kept-*.state")))
            give_up = time.monotonic() + 60
            while len(list(folder.glob("kept-*.state"))) < before + 3 and time.monotonic() < give_up:
                time.sleep(0.001 * turn)
            process.kill()
        own = _core.Engine(str(path), n_threads=1)
        running = scheduler(own, kept_folder=folder)
        assert running.stats()["kept_files"] == len(list(folder.glob("kept-*.state"))) > 0
        assert not list(folder.glob("kept-*.tmp-*"))
        (tmp_path / "slot").write_bytes((folder / "slot").read_bytes())
        tokens = running.load(tmp_path / "slot")  # whole, old or new
        number = running.submit(
            [*tokens, 5], _core.SamplingOptions(seed=1), max_tokens=6, ignore_end_tokens=True, top_logprobs=1
        )
        events = drain(running)[number]
        assert [(event.token.token, event.token.logprob) for event in events if event.token] == alone(
            own, [*tokens, 5], 1, 6
        )
        assert events[-1].timings["cached_tokens"] == len(tokens)
