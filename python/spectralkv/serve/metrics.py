"""What Prometheus reads at /metrics: the scheduler's counts as they are, and histograms of what requests took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from spectralkv import _core

if TYPE_CHECKING:
    from spectralkv.serve.worker import Step

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
# Name, key of Scheduler.stats, what it is.
GAUGES = (
    ("requests_running", "running", "requests that hold a cache"),
    ("requests_waiting", "waiting", "requests in the queue"),
    ("cache_bytes", "cache_bytes", "bytes of the KV caches, running and kept"),
    ("cache_budget_bytes", "budget_bytes", "bytes that they may have"),
    ("kept_sequences", "kept", "sequences that are kept for further requests"),
    ("kept_files", "kept_files", "sequences that are kept in the folder"),
    ("kept_file_bytes", "kept_file_bytes", "their bytes"),
    ("held_tokens", "held_tokens", "tokens of running and kept sequences; what two share counts twice"),
    ("longest_pause_seconds", "longest_pause_s", "longest step while requests decoded"),
)
COUNTERS = (
    ("prompt_tokens", "prompt_tokens", "tokens of prompts"),
    ("cached_prompt_tokens", "cached_tokens", "tokens of prompts that were kept from before and not read again"),
    ("generated_tokens", "decoded_tokens", "tokens drawn"),
    ("steps", "steps", "forward passes"),
    ("preemptions", "preemptions", "requests put back into the queue for want of cache"),
    ("prefix_lookups", "looked_up", "requests that looked for kept tokens"),
    ("prefix_hits", "found", "requests that found some"),
)


class _Scheduler(Collector):
    def __init__(self, scheduler: _core.Scheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> Iterator[Any]:
        stats = self._scheduler.stats()
        for name, key, text in GAUGES:
            yield GaugeMetricFamily(f"spectralkv_{name}", text, value=stats[key])
        for name, key, text in COUNTERS:
            yield CounterMetricFamily(f"spectralkv_{name}", text, value=stats[key])


class Metrics:
    """One registry for one server."""

    def __init__(self, scheduler: _core.Scheduler) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Scheduler(scheduler))
        self._ended = Counter("spectralkv_requests_ended", "requests that ended", ["reason"], registry=self.registry)
        self._first = Histogram(
            "spectralkv_time_to_first_token_seconds",
            "from the request's arrival to its first token",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queue = Histogram(
            "spectralkv_queue_seconds",
            "from the request's arrival to its start",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._between = Histogram(
            "spectralkv_time_per_token_seconds",
            "mean time between the tokens of an answer",
            buckets=TOKEN_SECONDS,
            registry=self.registry,
        )

    def ended(self, step: Step) -> None:
        """Counts a request by its last step."""
        self._ended.labels(step.reason).inc()
        took = step.timings
        if took.get("decoded_tokens", 0) > 0:
            self._queue.observe(took["queue_s"])
            self._first.observe(took["queue_s"] + took["prompt_s"])
        if took.get("decoded_tokens", 0) > 1:
            self._between.observe(took["decode_s"] / (took["decoded_tokens"] - 1))

    def text(self) -> bytes:
        return generate_latest(self.registry)
