"""`spectralkv serve --ray`: replicas of a service as a deployment of Ray Serve, and the front that listens."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from starlette.applications import Starlette

from spectralkv.serve.app import guarded
from spectralkv.serve.front import front_routes
from spectralkv.serve.guard import GuardOptions
from spectralkv.serve.replica import Replica
from spectralkv.serve.service import ServiceOptions

ROUTER = "spectralkv.serve.affinity.PrefixRouter"


@dataclass(frozen=True)
class ClusterOptions:
    """address: of a cluster, "local" for one that is started here. replicas: as many all the time. given: further
    options of the deployment, which go before what is set here."""

    address: str = "local"
    replicas: int = 1
    given: dict[str, Any] | None = None


def read_options(text: str | None) -> dict[str, Any]:
    """Those of --ray-options: JSON, or @ and the path of a file of it."""
    if text is None:
        return {}
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--ray-options: no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError("--ray-options: it must be an object of options of a deployment of Ray Serve")
    return given


def deployment_options(cluster: ClusterOptions, settings: ServiceOptions) -> dict[str, Any]:
    given = dict(cluster.given or {})
    made: dict[str, Any] = {
        "max_ongoing_requests": settings.max_requests,
        "max_queued_requests": settings.max_requests,
        "max_constructor_retry_count": 3,
        "graceful_shutdown_timeout_s": settings.timeout,  # a replica that is given up answers first what it has begun
        "health_check_period_s": 5,
        "logging_config": {"enable_access_log": False},
        "ray_actor_options": {"num_cpus": settings.n_threads} | ({"num_gpus": 1} if settings.n_gpu_layers else {}),
        "request_router_config": {
            "request_router_class": ROUTER,
            "request_router_kwargs": {"ahead": max(settings.n_parallel // 2, 1)},
        },
    }
    if "autoscaling_config" in given:
        if isinstance(given["autoscaling_config"], dict):  # as many as a replica runs at a time
            given["autoscaling_config"] = {
                "target_ongoing_requests": settings.n_parallel,
                **given["autoscaling_config"],
            }
    else:
        made["num_replicas"] = cluster.replicas
    return made | given


def start_replicas(cluster: ClusterOptions, settings: ServiceOptions) -> tuple[Any, Callable[[], None]]:
    """A handle of the replicas, when they are ready, and what ends them. ValueError for options that Ray refuses,
    RuntimeError where no replica could be made."""
    local = cluster.address == "local"
    if local:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", include_dashboard=False, log_to_driver=True, _node_ip_address="127.0.0.1")
    else:
        ray.init(address=cluster.address)
    name = "spectralkv-" + re.sub(r"[^A-Za-z0-9_.-]", "-", settings.alias or os.path.basename(settings.model))

    def end() -> None:
        serve.shutdown() if local else serve.delete(name)
        ray.shutdown()

    try:
        serve.start(proxy_location="Disabled")  # the front is the only way in
        deployment = serve.deployment(Replica).options(**deployment_options(cluster, settings))
        return serve.run(deployment.bind(settings), name=name, route_prefix=None), end
    except BaseException:
        end()
        raise


def make_front(handle: Any, guard: GuardOptions, cors_origins: list[str], close: Callable[[], None]) -> Starlette:
    return guarded(front_routes(handle), guard, cors_origins, close)
