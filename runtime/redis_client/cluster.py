"""A client of a Redis or Valkey cluster, with the interface of a client of one server.

redis-py has a cluster client of its own, which does not keep what the rooms rely on: it asks the server
for the keys of each ``EVALSHA_RO`` before it sends it, repeats commands by itself, keeps sending pipelines
to a primary that is gone, closes connections under the commands of others when one slot is down, and
has no way to say "this command on the connection of those before". So this is a map of slots over one
ordinary client a node: one pipeline a primary, all primaries at once, nothing repeated that may have run.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.client import Pipeline, PubSub
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    DataError,
    InvalidResponse,
    MovedError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

Redis = aioredis.Redis
Address = tuple[str, int]
Command = tuple[Any, ...]

ROUNDS = 5
"""How often a command that was not carried out (``MOVED``, ``ASK``, ``TRYAGAIN``) is sent in all."""
MOVING_WAIT_S = 0.1
"""Before a command whose slot is being moved is sent again."""
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"})
_ANYWHERE = frozenset({"ECHO", "INFO", "PING", "PUBLISH", "TIME"})
"""Without a key, and any primary's answer will do."""
_ONE_NODES = frozenset(
    {
        *(
            "ACL",
            "BGREWRITEAOF",
            "BGSAVE",
            "CLIENT",
            "CLUSTER",
            "CONFIG",
            "DBSIZE",
            "DEBUG",
            "FLUSHALL",
            "FLUSHDB",
        ),
        *("KEYS", "LATENCY", "RANDOMKEY", "ROLE", "SAVE", "SCAN", "SCRIPT", "SLOWLOG", "WAIT", "WAITAOF"),
    }
)
"""About one node: sent to a cluster they would be right for a part of it. They go to `ClusterRedis.node`."""


@dataclass(frozen=True, slots=True)
class NodeReplies:
    """What one server said to commands that went to it for its own sake."""

    address: str
    """``host:port``; empty for the only server."""
    replies: tuple[Any, ...]
    """An error stands in its own place."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The replies of one round trip. An error that a command got stands in its own place."""

    replies: list[Any]
    first: tuple[NodeReplies, ...]
    """Of each primary, in the order of their slots."""
    last: tuple[NodeReplies, ...]
    """Of each primary that took at least one of the commands."""


async def send(
    redis: Redis, commands: Sequence[Command], *, first: Sequence[Command] = (), last: Sequence[Command] = ()
) -> Sent:
    """``commands`` in one pipeline a primary, all primaries at once.

    ``first`` goes to every primary, before its commands; ``last`` follows the commands on their own
    connection. Raises `RedisError` when nothing could be sent to anybody.
    """
    if isinstance(redis, ClusterRedis):
        return await redis.send([(command, {}) for command in commands], first=first, last=last)
    pipe = redis.pipeline(transaction=False)
    for command in (*first, *commands, *last):
        pipe.execute_command(*command)
    replies = await pipe.execute(raise_on_error=False)
    rest = len(first) + len(commands)
    return Sent(
        replies=list(replies[len(first) : rest]),
        first=(NodeReplies("", tuple(replies[: len(first)])),),
        last=(NodeReplies("", tuple(replies[rest:])),) if last else (),
    )


@dataclass(frozen=True, slots=True)
class _Slots:
    owners: tuple[Address | None, ...]
    """The primary of each slot; None: nobody serves it."""
    primaries: tuple[Address, ...]
    nodes: tuple[Address, ...]
    """Primaries and replicas."""


class ClusterRedis(aioredis.Redis):
    """Every command goes to the primary of its key's slot; one that any server can answer to some primary.

    ``client``: makes the client of one node. A lost connection or a timeout is told, never repeated; what a
    node refused because the slot lies elsewhere is sent there.
    """

    def __init__(self, seeds: Sequence[Address], client: Callable[[Address], Redis]) -> None:
        self._seeds = tuple(seeds)
        self._client = client
        self._clients: dict[Address, Redis] = {}
        self._slots: _Slots | None = None
        self._stale = True
        self._look = asyncio.Lock()
        self._subscribed = secrets.randbelow(1 << 16)
        super().__init__(connection_pool=self.node(self._seeds[0]).connection_pool)

    def node(self, address: Address) -> Redis:
        """The client of one node. Nothing is sent."""
        if address not in self._clients:
            self._clients[address] = self._client(address)
        return self._clients[address]

    async def primaries(self) -> tuple[tuple[Address, Redis], ...]:
        """Every primary, in the order of their slots. Raises `RedisError`."""
        return tuple((address, self.node(address)) for address in (await self._map()).primaries)

    async def owner(self, key: str) -> Address:
        """The primary that has ``key``. Raises `RedisError`."""
        return _served((await self._map()).owners[slot_of(key)])

    # --- what the rooms call

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        sent = await self.send([(args, options)])
        if isinstance(sent.replies[0], Exception):
            raise sent.replies[0]
        return sent.replies[0]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A transaction's keys all lie in one slot: there is none over several."""
        return _ClusterPipeline(self, transaction=transaction)

    def pubsub(self, **options: Any) -> PubSub:
        """A subscription at one node, another one each time: what is published anywhere reaches all."""
        nodes = self._slots.nodes if self._slots is not None else self._seeds
        self._subscribed += 1
        return self.node(nodes[self._subscribed % len(nodes)]).pubsub(**options)

    async def scan_iter(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> AsyncIterator[Any]:
        """The keys of all primaries."""
        for _, node in await self.primaries():
            async for key in node.scan_iter(*args, **options):
                yield key

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await asyncio.gather(*(client.aclose(close_connection_pool) for client in self._clients.values()))

    # --- the wire

    async def send(
        self,
        commands: Sequence[tuple[Command, Mapping[str, Any]]],
        *,
        first: Sequence[Command] = (),
        last: Sequence[Command] = (),
    ) -> Sent:
        """See `send`; each command with redis-py's options for its reply."""
        replies: list[Any] = [None] * len(commands)
        told_first: dict[Address, tuple[Any, ...]] = {}
        told_last: list[NodeReplies] = []
        slots = await self._map()
        where: dict[int, Address] = {}
        for index, (command, _) in enumerate(commands):
            key = _key_of(command)
            owner = slots.primaries[0] if key is None else slots.owners[slot_of(key)]
            if owner is None:
                replies[index] = ClusterDownError("Hash slot not served")
                self._stale = True
            else:
                where[index] = owner
        asking: set[int] = set()
        for turn in range(ROUNDS):
            groups: dict[Address, list[int]] = (
                {node: [] for node in slots.primaries} if first and not turn else {}
            )
            for index, address in where.items():
                groups.setdefault(address, []).append(index)
            if not groups:
                break
            answers = await asyncio.gather(
                *(
                    self._pipe(
                        address,
                        [commands[index] for index in indices],
                        asking=[index in asking for index in indices],
                        first=() if turn else first,
                        last=last if indices else (),
                    )
                    for address, indices in groups.items()
                )
            )
            where, wait, asking = {}, False, set()
            for (address, indices), (heads, own, tails) in zip(groups.items(), answers, strict=True):
                told_first.update({} if turn else {address: heads})
                if any(not isinstance(reply, AskError | TryAgainError) for reply in own) and last:
                    told_last.append(NodeReplies(shown(address), tails))
                for index, reply in zip(indices, own, strict=True):
                    replies[index] = reply
                    if isinstance(reply, MovedError):
                        self._stale = True
                        where[index] = (reply.host or address[0], reply.port)
                    elif isinstance(reply, AskError) and str(commands[index][0][0]).upper() not in _SCRIPTS:
                        where[index] = (reply.host or address[0], reply.port)
                        asking.add(index)
                    elif isinstance(reply, AskError | TryAgainError):
                        # A script's keys lie on both sides while its slot is moved key by key. It runs on
                        # neither: it would see half of a family.
                        replies[index] = TryAgainError("the slot is being moved")
                        where[index], wait = address, True
                    elif isinstance(reply, ConnectionError | TimeoutError | ClusterDownError):
                        self._stale = True
            if wait:
                await asyncio.sleep(MOVING_WAIT_S)
        return Sent(
            replies=replies,
            first=tuple(NodeReplies(shown(address), told) for address, told in told_first.items()),
            last=tuple(told_last),
        )

    async def transact(self, commands: Sequence[tuple[Command, Mapping[str, Any]]]) -> list[Any]:
        """All of them or none, on the primary of their slot. Raises `RedisError`: also for an error of one."""
        slots = {slot_of(key) for command, _ in commands if (key := _key_of(command)) is not None}
        if len(slots) != 1:
            raise ClusterCrossSlotError("a transaction's keys have to lie in one slot")
        (slot,) = slots
        moved: Address | None = None
        for _ in range(ROUNDS):
            address = moved or _served((await self._map()).owners[slot])
            pipe = self.node(address).pipeline(transaction=True)
            for command, options in commands:
                pipe.execute_command(*command, **options)
            try:
                return list(await pipe.execute())
            except MovedError as error:  # told before EXEC: nothing was carried out
                self._stale = True
                moved = (error.host or address[0], error.port)
            except (AskError, TryAgainError):
                await asyncio.sleep(MOVING_WAIT_S)
            except (ConnectionError, TimeoutError, ClusterDownError, OSError):
                self._stale = True
                raise
        raise TryAgainError("the slot is being moved")

    async def _pipe(
        self,
        address: Address,
        commands: Sequence[tuple[Command, Mapping[str, Any]]],
        *,
        asking: Sequence[bool],
        first: Sequence[Command],
        last: Sequence[Command],
    ) -> tuple[tuple[Any, ...], list[Any], tuple[Any, ...]]:
        """Replies to ``first``, to the commands, and to ``last``; a lost connection is an error in every place."""
        pipe = self.node(address).pipeline(transaction=False)
        places = []
        for command in first:
            pipe.execute_command(*command)
        for (command, options), ask in zip(commands, asking, strict=True):
            if ask:
                pipe.execute_command("ASKING")
            places.append(len(pipe))
            pipe.execute_command(*command, **options)
        end = len(pipe)
        for command in last:
            pipe.execute_command(*command)
        try:
            replies = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            self._stale = True
            return (error,) * len(first), [error] * len(commands), (error,) * len(last)
        return tuple(replies[: len(first)]), [replies[place] for place in places], tuple(replies[end:])

    # --- the map of slots

    async def _map(self) -> _Slots:
        """Looked up when first needed and after whatever hints that it has changed. Raises `RedisError`."""
        if self._slots is None or self._stale:
            async with self._look:
                if self._slots is None or self._stale:
                    self._stale = False
                    try:
                        self._slots = await self._looked_up()
                    except BaseException:
                        self._stale = True
                        raise
        return self._slots

    async def _looked_up(self) -> _Slots:
        """As the first node that knows the slots tells it. Raises `RedisError`: as told by one of all."""
        known = dict.fromkeys((*(self._slots.nodes if self._slots else ()), *self._seeds))
        asked = [asyncio.create_task(self._ask(address)) for address in known]
        errors: list[Exception] = []
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except (RedisError, OSError) as error:
                    errors.append(error)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        answered = [error for error in errors if isinstance(error, ResponseError)]
        raise (answered or errors)[0]

    async def _ask(self, address: Address) -> _Slots:
        rows: Any = await self.node(address).execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        nodes: dict[Address, None] = {}
        primaries: dict[Address, None] = {}
        try:
            for start, end, *served_by in sorted(rows, key=lambda row: int(row[0])):
                # A node may be told without a host: then it is the one that was asked.
                places = [(str(row[0]) if row[0] else address[0], int(row[1])) for row in served_by]
                owners[int(start) : int(end) + 1] = [places[0]] * (int(end) + 1 - int(start))
                primaries[places[0]] = None
                nodes.update(dict.fromkeys(places))
        except (TypeError, ValueError, IndexError):
            raise InvalidResponse("CLUSTER SLOTS") from None
        if not primaries:
            raise ClusterDownError("Hash slot not served")
        return _Slots(tuple(owners), tuple(primaries), tuple(nodes))


class _ClusterPipeline(Pipeline):
    """Collects commands like any pipeline; sends one pipeline a primary, or one transaction to one."""

    def __init__(self, cluster: ClusterRedis, *, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        commands = [(tuple(args), options) for args, options in stack]
        if self.is_transaction and commands:
            return await self._cluster.transact(commands)
        replies = (await self._cluster.send(commands)).replies
        if raise_on_error:
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies


def shown(address: Address) -> str:
    """``host:port``"""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def slot_of(key: str | bytes) -> int:
    return int(key_slot(key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogatepass")))


def _key_of(command: Command) -> str | bytes | None:
    """The first key: commands of several keys are made of one slot's keys, or refused by the server.

    Raises `DataError` for a command that is for one node.
    """
    name = str(command[0]).upper()
    if name in _SCRIPTS:
        return command[3] if int(command[2]) else None
    word = name.partition(" ")[0]
    if word in _ONE_NODES:
        raise DataError(f"{word} is about one node of the cluster")
    if word in _ANYWHERE or len(command) < 2:
        return None
    key: str | bytes = command[1]
    return key


def _served(owner: Address | None) -> Address:
    if owner is None:
        raise ClusterDownError("Hash slot not served")
    return owner


def parse_seeds(netloc: str) -> tuple[Address, ...]:
    """``host:port,host,[::1]:port``, without credentials. Raises `ValueError`."""
    return tuple(_seed(part) for part in netloc.split(","))


def _seed(text: str) -> Address:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "6379"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)
