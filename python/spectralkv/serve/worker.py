"""The thread that steps the scheduler, and the streams of events that it gives to the server's event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from spectralkv import _core
from spectralkv.grammar import Masks

Result = TypeVar("Result")
log = logging.getLogger("spectralkv")
END_POLL = 0.02  # seconds


@dataclass
class Step:
    """What came of one request: new text, at most one token, at the end the reason and what it took."""

    text: str
    token: _core.GeneratedToken | None
    reason: str
    error: str
    timings: dict[str, Any]
    context_full: bool = False


class Inbox:
    """Where the steps of the answers to one request arrive, each with the number of its answer."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[tuple[int, Step]] = asyncio.Queue()

    async def steps(self, n: int) -> AsyncIterator[tuple[int, Step]]:
        """Those of n answers, until all have ended."""
        while n:
            index, step = await self.queue.get()
            n -= bool(step.reason)
            yield index, step


@dataclass
class Job:
    """An answer at the scheduler's. Whoever has it reads its inbox to the end, or cancels it."""

    number: int
    slot: int
    index: int
    tokens: array[int]  # those of the prompt and, as they come, of the answer
    prompt_tokens: int
    masks: Masks | None
    inbox: Inbox
    seed: int
    started: float = field(default_factory=time.time)
    decoded: int = 0


class Busy(RuntimeError):
    """As many requests wait as may."""


class Worker:
    """Steps the scheduler while there is something to do. submit and cancel may be called from any thread."""

    def __init__(
        self, scheduler: _core.Scheduler, n_slots: int, max_waiting: int, ended: Callable[[Step], None]
    ) -> None:
        self.scheduler = scheduler
        self.slots: list[array[int]] = [array("i")] * n_slots  # what the last request of each has read and written
        self.jobs: dict[int, Job] = {}
        self.failure: str | None = None  # why it works no more
        self._ended = ended
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends all requests and the thread."""
        self._stopping = True
        with self._lock:
            for number in self.jobs:
                self.scheduler.cancel(number)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def submit(
        self,
        inbox: Inbox,
        index: int,
        prompt: Sequence[int],
        sampling: _core.SamplingOptions,
        masks: Masks | None,
        slot: int = -1,
        **options: Any,
    ) -> Job:
        """Queues an answer. slot: whose tokens these will be; the first that is free where there is none of that
        number. Busy where too many wait; ValueError for what the scheduler refuses."""
        allowed = masks(-1) if masks is not None else None
        with self._lock:  # the first event must find the job
            if self.failure is not None or self._stopping:
                raise Busy(self.failure or "the server is ending")
            if len(self.jobs) >= self._max_waiting:
                raise Busy(f"{len(self.jobs)} requests run or wait already; try again later")
            number = self.scheduler.submit(prompt, sampling, allowed=allowed, **options)
            if not 0 <= slot < len(self.slots):
                taken = {job.slot for job in self.jobs.values()}
                slot = next(free for free in count() if free not in taken)
            tokens = array("i", prompt)
            job = self.jobs[number] = Job(number, slot, index, tokens, len(prompt), masks, inbox, sampling.seed)
            if slot < len(self.slots):  # beyond are those that wait
                self.slots[slot] = tokens
        return job

    async def call(self, function: Callable[[], Result]) -> Result:
        """What a function gives that only the thread of the steps may call."""
        done: Future[Result] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():  # whoever asked has gone
                return
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        with self._lock:
            if self.failure is not None or self._stopping:
                raise Busy(self.failure or "the server is ending")
            self._calls.append(run)
        return await asyncio.wrap_future(done)

    def running(self, slot: int) -> set[int]:
        """The numbers of the jobs of a slot."""
        return {number for number, job in list(self.jobs.items()) if job.slot == slot}

    async def ended(self, numbers: set[int]) -> None:
        """Comes back when none of these jobs runs any more."""
        while not numbers.isdisjoint(list(self.jobs)):
            await asyncio.sleep(END_POLL)

    def cancel(self, job: Job) -> None:
        self.scheduler.cancel(job.number)

    def _work(self) -> None:
        try:
            while not self._stopping or self.jobs or self._calls:
                while self._calls:
                    self._calls.popleft()()
                if self.scheduler.wait(0.1):
                    self._give_out(self.scheduler.step())
        except Exception as error:
            log.exception("the scheduler failed")
            self._fail(f"the scheduler failed: {error}")

    def _give_out(self, events: Sequence[_core.SchedulerEvent]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job, Step]]] = {}  # one call into each is enough
        for event in events:
            with self._lock:
                job = self.jobs.pop(event.id, None) if event.reason else self.jobs.get(event.id)
            if job is None:  # it was told its end already
                continue
            step = self._step(job, event)
            if step.reason:
                self._ended(step)
            by_loop.setdefault(job.inbox.loop, []).append((job, step))
        for loop, steps in by_loop.items():
            _tell(loop, steps)

    def _step(self, job: Job, event: _core.SchedulerEvent) -> Step:
        token, text = event.token, event.rest
        if token is not None:
            text = token.text + text
            job.decoded += 1
            job.tokens.append(token.token)
            if job.masks is not None and not event.reason:
                try:
                    self.scheduler.allow(event.id, job.masks(token.token))
                except ValueError as error:
                    with self._lock:
                        self.jobs.pop(event.id, None)
                    self.scheduler.cancel(event.id)
                    return Step(text, token, "error", str(error), event.timings)
        return Step(text, token, event.reason, event.error, event.timings, event.context_full)

    def _fail(self, message: str) -> None:
        with self._lock:
            self.failure = message
            jobs, self.jobs = list(self.jobs.values()), {}
        for job in jobs:
            _tell(job.inbox.loop, [(job, Step("", None, "error", message, {}))])


def _tell(loop: asyncio.AbstractEventLoop, steps: list[tuple[Job, Step]]) -> None:
    def put() -> None:
        for job, step in steps:
            job.inbox.queue.put_nowait((job.index, step))

    try:
        loop.call_soon_threadsafe(put)
    except RuntimeError:  # the loop is closed, and its requests with it
        log.debug("nobody waits for %d events any more", len(steps))
