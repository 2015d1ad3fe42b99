"""The worker over a scheduler that misbehaves: nobody waits for ever, and nothing is left."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette")

from spectralkv import _core
from spectralkv.serve.worker import Busy, Inbox, Worker


def event(number, reason="", token=5, text="a"):
    made = SimpleNamespace(token=token, text=text, bytes=b"a", logprob=0.0, top=[])
    timings = {"decoded_tokens": 1}
    return SimpleNamespace(id=number, token=made, reason=reason, rest="", error="", timings=timings, context_full=False)


class Scheduler:
    """Gives the steps that it was given, then fails."""

    def __init__(self, *steps):
        self.steps, self.cancelled, self.submitted = list(steps), [], 0

    def submit(self, *_, **__):
        self.submitted += 1
        return self.submitted

    def cancel(self, number):
        self.cancelled.append(number)
        return True

    def allow(self, *_):
        return True

    def wait(self, _):
        return True

    def step(self):
        if not self.steps:
            raise RuntimeError("the machine is on fire")
        return self.steps.pop(0)


def run(scheduler, masks=None, n=1):
    """The reasons and errors that n answers end with, and the worker."""
    ended = []
    worker = Worker(scheduler, 2, 10, ended.append)

    async def main():
        inbox = Inbox()
        for index in range(n):
            worker.submit(inbox, index, [1, 2], _core.SamplingOptions(), masks)
        worker.start()
        return [step async for _, step in inbox.steps(n) if step.reason]

    ends = asyncio.run(main())
    return ends, worker, ended


def test_a_scheduler_that_fails():
    ends, worker, _ = run(Scheduler([event(1)], [event(1, "stop"), event(2)]), n=2)
    assert [step.reason for step in ends] == ["stop", "error"] and "on fire" in ends[1].error
    assert worker.jobs == {} and "on fire" in worker.failure

    async def late():
        worker.submit(Inbox(), 0, [1], _core.SamplingOptions(), None)

    with pytest.raises(Busy, match="on fire"):
        asyncio.run(late())
    with pytest.raises(Busy, match="on fire"):
        asyncio.run(worker.call(lambda: 1))
    worker.stop()


def test_masks_that_fail():
    def masks(last):
        if last >= 0:
            raise ValueError("[grammar] too complex")
        return b""

    scheduler = Scheduler([event(1)], [event(1, "cancelled")])
    ends, worker, ended = run(scheduler, masks)
    assert [(step.reason, step.error) for step in ends] == [("error", "[grammar] too complex")]
    assert scheduler.cancelled == [1] and worker.jobs == {} and len(ended) == 1
