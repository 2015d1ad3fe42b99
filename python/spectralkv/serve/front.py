"""What listens in front of replicas: guards, routes, and answers that are passed on while they come.

A replica that is lost takes its requests with it. What a client has heard nothing of yet is asked again elsewhere; a
stream that has begun ends with an error, and so does what nobody could answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import anyio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import BackPressureError, RayServeException, ReplicaUnavailableError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from spectralkv.serve.clients import SEND_TIMEOUT, while_connected
from spectralkv.serve.errors import ApiError
from spectralkv.serve.prefixes import Forward, forward
from spectralkv.serve.routes import PAGES, ROUTES, openapi
from spectralkv.serve.streams import Form, form_of

ATTEMPTS = 4  # replicas that a request may lose before it is told
REPORT_SECONDS = 5.0
SUMS = ("tokens", "bytes", "f16_bytes", "budget_bytes", "running", "waiting", "kept", "prompt_tokens", "cached_tokens")


class Lost(Exception):
    """The replica ended before its answer did."""


class Relay:
    """Passes requests on to the replicas, one at a time each. handle: of the deployment of Replica."""

    def __init__(self, handle: Any) -> None:
        self._ask = handle.options(stream=True).ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        request = await run_in_threadpool(forward, scope["method"], scope["path"], body)
        answer = _Answer(send, form_of(scope["path"]))
        try:
            for _ in range(ATTEMPTS):
                try:
                    await self._pass_on(request, receive, answer)
                    return
                except Lost:
                    if answer.started:
                        break
            raise ApiError(503, "the replica that answered was lost", code="replica_lost")
        except ApiError as error:
            if not answer.started:
                raise
            await answer.end_with(error)

    async def _pass_on(self, request: Forward, receive: Receive, answer: _Answer) -> None:
        stream = self._ask.remote(request)
        failure: list[Exception] = []

        async def work(scope: anyio.CancelScope) -> None:
            try:
                async for messages in stream:
                    with anyio.fail_after(SEND_TIMEOUT):
                        for message in messages:
                            await answer.put(message)
            except TimeoutError:  # a client that takes nothing
                pass
            except (RayActorError, ReplicaUnavailableError) as error:
                failure.append(Lost(str(error)))
            except asyncio.CancelledError:
                if scope.cancel_called:
                    raise
                failure.append(Lost("the replica gave it up"))
            except BackPressureError as error:
                failure.append(ApiError(503, str(error), code="overloaded"))
            except RayServeException as error:
                failure.append(ApiError(503, f"no replica is ready: {error}"))
            except RayError as error:
                failure.append(ApiError(500, f"a replica failed: {type(error).__name__}"))

        try:
            await while_connected(receive, work)
        finally:
            if not answer.ended:
                stream.cancel()
        if failure and not answer.ended:
            raise failure[0]


class _Answer:
    """What goes to the client. The head waits for the body's first part, so that until then nothing is promised."""

    def __init__(self, send: Send, form: Form) -> None:
        self._send, self._form = send, form
        self._head: Message | None = None
        self.started = self.ended = False

    async def put(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        if not self.started:
            assert self._head is not None
            self.started = True
            await self._send(self._head)
        await self._send(message)
        self.ended = not message.get("more_body", False)

    async def end_with(self, error: ApiError) -> None:
        """A stream's last event; anything else is cut off where it is, which its client notices by the length."""
        kinds = dict(self._head["headers"]) if self._head is not None else {}
        if not kinds.get(b"content-type", b"").startswith(b"text/event-stream"):
            raise error
        last = [self._form.failed(error), *self._form.end()]
        text = "".join("".join(f"{name}: {value}\n" for name, value in event.items()) + "\n" for event in last)
        await self.put({"type": "http.response.body", "body": text.encode(), "more_body": False})


# ---- what the replicas report


class _Families(Collector):
    def __init__(self, reports: Sequence[dict[str, Any]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Any]:
        """The replicas' families of one name as one, each sample with its replica."""
        families: dict[str, Any] = {}
        for report in self._reports:
            for family in text_string_to_metric_families(report["metrics"].decode()):
                samples = [s._replace(labels={**s.labels, "replica": report["name"]}) for s in family.samples]
                families.setdefault(family.name, family)
                if families[family.name] is family:
                    family.samples = samples
                else:
                    families[family.name].samples += samples
        yield from families.values()


class Reports:
    """The routes that tell of all replicas."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def _reports(self) -> list[dict[str, Any]]:
        try:
            got = await self._handle.broadcast("report").results_async(timeout_s=REPORT_SECONDS, return_exceptions=True)
        except (TimeoutError, RayError, RayServeException) as error:
            raise ApiError(503, f"no replica answers: {type(error).__name__}") from None
        reports = [report for report in got if isinstance(report, dict)]
        if not reports:
            raise ApiError(503, "no replica answers")
        return sorted(reports, key=lambda report: str(report["name"]))

    async def health(self, _: Request) -> Response:
        reports = await self._reports()
        well = [report for report in reports if report["failure"] is None]
        if not well:
            raise ApiError(503, reports[0]["failure"])
        return JSONResponse({"status": "ok", "replicas": len(well)})

    async def metrics(self, _: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(_Families(await self._reports()))
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def slots(self, _: Request) -> Response:
        reports = await self._reports()
        return JSONResponse([{**slot, "replica": report["name"]} for report in reports for slot in report["slots"]])

    async def cache(self, _: Request) -> Response:
        return JSONResponse(sum_of_caches([report["cache"] for report in await self._reports()]))


def sum_of_caches(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of Service.cache_line, of all together."""
    line = {**lines[0], **{name: math.fsum(each[name] for each in lines) for name in SUMS}}
    line = {name: int(value) if name in SUMS else value for name, value in line.items()}
    entries, asked = line["f16_bytes"] / 2, line["prompt_tokens"]
    line["bits_per_entry"] = 8 * line["bytes"] / entries if entries else None
    line["hit_rate"] = line["cached_tokens"] / asked if asked else None
    return line


def front_routes(handle: Any) -> list[BaseRoute]:
    """The routes of a service, answered by the replicas."""
    relay, reports = Relay(handle), Reports(handle)
    own: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/health": reports.health,
        "/v1/health": reports.health,
        "/metrics": reports.metrics,
        "/slots": reports.slots,
        "/cache": reports.cache,
        "/openapi.json": openapi,
    }
    routes: list[BaseRoute] = [*PAGES]
    for route in ROUTES:
        methods = [method for method in route.methods or () if method != "HEAD"]
        routes.append(Route(route.path, own.get(route.path, relay), methods=methods))
    return routes
