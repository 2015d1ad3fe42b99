"""Which replica answers: one that has read what the request begins with, unless it is much busier than another one.

Ray's own router of this kind comes with ray[llm], which brings an inference engine of its own.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

HOLDERS = 4  # replicas that are known to have read the same


class PrefixRouter(RequestRouter):
    """Without such a replica it is the less busy one of two that are drawn. What replicas have dropped again is not
    known here: a wrong guess costs the time to read the prompt."""

    def initialize_state(self, ahead: int = 8, remembered: int = 200_000, **_: Any) -> None:
        """ahead: requests that the replica may have more than the least busy one. remembered: links of chains."""
        self._ahead, self._remembered = ahead, remembered
        self._holders: OrderedDict[bytes, tuple[ReplicaID, ...]] = OrderedDict()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        drawn = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
        if pending_request is None:
            return [drawn]
        pending_request.routing_context.should_backoff = True  # otherwise it is asked again at once, for ever
        known = {replica.replica_id: replica for replica in candidate_replicas}
        lengths = {name: self.replica_queue_len_cache.get(name) or 0 for name in known}
        free = min(lengths.values(), default=0) + self._ahead
        holders = [name for name in self._found(_chain(pending_request), known) if lengths[name] <= free]
        return [[known[name] for name in holders], drawn]

    def _found(self, chain: Sequence[bytes], known: dict[ReplicaID, RunningReplica]) -> list[ReplicaID]:
        """Those that have read the longest beginning."""
        for link in reversed(chain):
            if found := [name for name in self._holders.get(link, ()) if name in known]:
                return found
        return []

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        for link in _chain(pending_request):
            others = [name for name in self._holders.pop(link, ()) if name != replica_id and name in self.curr_replicas]
            self._holders[link] = (replica_id, *others[: HOLDERS - 1])
        while len(self._holders) > self._remembered:
            self._holders.popitem(last=False)


def _chain(request: PendingRequest) -> Sequence[bytes]:
    return getattr(request.args[0], "chain", ()) if request.args else ()
