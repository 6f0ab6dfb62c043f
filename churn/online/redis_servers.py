"""Reaching Redis: one server, or a cluster of them, and waiting for their replicas.

What is kept there is `redis_copy`'s. The client of one server and that of a cluster have the same methods,
as far as they are used.
"""

import logging
import time
from typing import TYPE_CHECKING, Any

from churn.settings import get_settings

if TYPE_CHECKING:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.cluster

    Client = redis.Redis | redis.cluster.RedisCluster
    AsyncClient = redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster

_LOG = logging.getLogger(__name__)
_ANSWER_SECONDS = 2.0
# A replica says once a second how far it has come.
_REPLICA_SECONDS, _REPLICA_LOOK_SECONDS = 10.0, 0.02


def _addresses() -> list[str]:
    return [each.strip() for each in get_settings().redis_url.get_secret_value().split(",")]


_OPTIONS: dict[str, Any] = {
    "socket_timeout": _ANSWER_SECONDS,
    "socket_connect_timeout": _ANSWER_SECONDS,
}


def connect_redis() -> "Client":
    """Connect by the first address of CHURN_REDIS_URL that answers: to that server, or to its whole cluster.

    Raises:
        redis.exceptions.RedisError: none of them answers.
    """
    import redis
    import redis.cluster

    refusal: Exception = redis.exceptions.ConnectionError("CHURN_REDIS_URL is empty")
    for address in _addresses():
        client = redis.Redis.from_url(address, **_OPTIONS)
        try:
            is_clustered = client.info("cluster")["cluster_enabled"]
        except redis.exceptions.RedisError as error:
            client.close()
            refusal = error
            continue
        if not is_clustered:
            return client
        client.close()
        return redis.cluster.RedisCluster.from_url(address, **_OPTIONS)
    raise refusal


async def connect_redis_async() -> "AsyncClient":
    """Do the same for an event loop."""
    import redis.asyncio
    import redis.asyncio.cluster

    refusal: Exception = redis.exceptions.ConnectionError("CHURN_REDIS_URL is empty")
    for address in _addresses():
        client = redis.asyncio.Redis.from_url(address, **_OPTIONS)
        try:
            is_clustered = (await client.info("cluster"))["cluster_enabled"]
        except redis.exceptions.RedisError as error:
            await client.aclose()
            refusal = error
            continue
        if not is_clustered:
            return client
        await client.aclose()
        cluster = redis.asyncio.cluster.RedisCluster.from_url(address, **_OPTIONS)
        return await cluster.initialize()
    raise refusal


def await_replicas(client: "Client", seconds: float = _REPLICA_SECONDS) -> bool:
    """Wait until every replica has what its primary has now; return whether all of them came so far.

    Redis answers a write before a replica has it, so a primary that is lost takes its last writes with it.
    Replicas that stay behind are named in the log and not waited for any longer: if their primary fails then,
    what was written may be lost, which readers notice.
    """
    waited_for = {name: info["master_repl_offset"] for name, info in _primaries(client).items()}
    deadline = time.monotonic() + seconds
    while True:
        behind = [
            f"{replica['ip']}:{replica['port']} of {name}"
            for name, info in _primaries(client).items()
            for replica in _replicas(info)
            if name in waited_for and replica["offset"] < waited_for[name]
        ]
        if not behind:
            return True
        if time.monotonic() > deadline:
            _LOG.warning("replicas are behind after %g s: %s", seconds, ", ".join(behind))
            return False
        time.sleep(_REPLICA_LOOK_SECONDS)


def _primaries(client: "Client") -> dict[str, dict[str, Any]]:
    """Return what each primary says of its replication, by name of the server."""
    import redis.cluster

    if isinstance(client, redis.cluster.RedisCluster):
        nodes = client.get_primaries()  # type: ignore[no-untyped-call]
        return {node.name: client.info("replication", target_nodes=node) for node in nodes}
    return {"the server": client.info("replication")}


def _replicas(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the replicas that a primary feeds at present; one that is being filled is not among them."""
    named = (info[f"slave{number}"] for number in range(info["connected_slaves"]))
    return [replica for replica in named if replica["state"] == "online"]
