"""A lane over TLS: one server, and a cluster; what is told when the handshake can't succeed.

The Valkey that the project installs is built without TLS, so another end of it stands in front of each
server: to a client a server's own TLS looks the same.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from runtime.common.text import without_credentials
from runtime.ledger.keys import wake_channel
from runtime.model import (
    BoundaryDown,
    ConfigError,
    FamilyRules,
    ItemState,
    Outcome,
    Priority,
    family_tag,
    new_item_id,
)
from runtime.pressure.keys import families_key
from runtime.pressure.queue import Queue
from runtime.pressure.reading import QueueReader
from runtime.redis_client.cluster import ClusterRedis
from runtime.redis_client.connection import Redis, connect, redis_errors
from tests.servers import ValkeyCluster, ValkeyServer
from tests.side_by_side import free_ports
from tests.tls import HOST, Authority, TlsFront

FAMILIES = tuple(f"f/{number}" for number in range(6))


@dataclass
class Ends:
    """What a client may be given. Each address lacks its query."""

    authority: Authority
    stranger: Authority
    front: Callable[[Path, ssl.SSLContext], TlsFront]


@pytest.fixture
def ends(short_dir: Path) -> Iterator[Ends]:
    with ExitStack() as stack:

        def front(socket: Path, context: ssl.SSLContext) -> TlsFront:
            made = TlsFront(socket, context).start()
            stack.callback(made.stop)
            return made

        yield Ends(Authority(short_dir), Authority(short_dir, "stranger"), front)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    redis = connect(url)
    try:
        yield redis
    finally:
        await redis.aclose()


async def all_the_way(redis: Redis, url: str) -> None:
    """An item of each family from its enqueue to its end, with everything that a lane uses of Redis."""
    queue, reading = Queue(redis, url, "main"), QueueReader(redis, url, "main")
    rules = dict.fromkeys(FAMILIES, FamilyRules())
    async with redis.pubsub() as heard:
        await heard.subscribe(wake_channel("main"))
        for family in FAMILIES:
            await redis.hset(families_key("main"), family_tag(family), family)
            await queue.enqueue(new_item_id(family, at_s=1.0), family, "{}", priority=Priority.P2, origin="t")
        told = [await heard.get_message(ignore_subscribe_messages=False, timeout=5) for _ in range(2)]
        assert [message["type"] for message in told if message] == ["subscribe", "message"]
    leases = (await queue.claim(dict.fromkeys(FAMILIES, (0, 0, 1, 0)), rules, owner="d")).leases
    assert {lease.family for lease in leases} == set(FAMILIES)
    assert await queue.admitted(await queue.begin_admit(leases)) == len(FAMILIES)
    for lease in leases:
        await queue.settle(lease.run_id, lease.family, Outcome.SUCCEEDED, "")
        item = await reading.item(lease.item_id)
        assert item is not None
        assert item.state is ItemState.SUCCEEDED
    assert sum(one.succeeded_total for one in (await reading.read(rules)).families) == len(FAMILIES)


async def test_a_lane_on_a_server_over_tls(valkey: ValkeyServer, ends: Ends) -> None:
    front = ends.front(valkey.socket, ends.authority.server("localhost"))
    url = f"rediss://localhost:{front.port}/0?ssl_ca_certs={ends.authority.file}"
    async with connected(url) as redis:
        await all_the_way(redis, url)


async def test_a_lane_on_a_cluster_over_tls(short_dir: Path, ends: Ends) -> None:
    """The nodes tell the ports of their TLS, so that a client that knows one finds the others by it."""
    cluster = ValkeyCluster(short_dir, primaries=3, replicas=0)
    ports = []
    for node in cluster.nodes:
        ports.append(ends.front(node.socket, ends.authority.server(HOST)).port)
        node.extra += ("--cluster-announce-port", str(ports[-1]))
    try:
        cluster.launch()
        url = f"rediss+cluster://{HOST}:{ports[0]}/?ssl_ca_certs={ends.authority.file}"
        async with connected(url) as redis:
            assert isinstance(redis, ClusterRedis)
            assert {address for address, _ in await redis.primaries()} == {(HOST, port) for port in ports}
            await all_the_way(redis, url)
    finally:
        cluster.stop()


async def told_by(url: str) -> BoundaryDown:
    async with connected(url) as redis:
        with pytest.raises(BoundaryDown) as told, redis_errors(without_credentials(url)):
            await redis.ping()
    return told.value


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_a_certificate_that_is_not_accepted_is_told_with_what_to_do(
    valkey: ValkeyServer, ends: Ends, scheme: str
) -> None:
    ours = ends.front(valkey.socket, ends.authority.server(HOST)).port
    anothers = ends.front(valkey.socket, ends.authority.server("elsewhere.example")).port
    old = ends.front(valkey.socket, ends.authority.server(HOST, until=datetime(2001, 1, 1))).port
    for port, query, message, fix in (
        (ours, "", "not signed by a CA that is trusted here", "ssl_ca_certs="),
        (ours, f"?ssl_ca_certs={ends.stranger.file}", "not signed by a CA", "ssl_ca_certs="),
        (anothers, f"?ssl_ca_certs={ends.authority.file}", "is another's", "a name that the certificate has"),
        (old, f"?ssl_ca_certs={ends.authority.file}", "no longer valid", "renew"),
    ):
        error = await told_by(f"{scheme}://{HOST}:{port}/{query}")
        assert error.code == "redis-tls"
        assert message in error.message
        assert fix in str(error.fix)


async def test_a_server_that_wants_a_clients_certificate_is_given_ours(
    valkey: ValkeyServer, ends: Ends, short_dir: Path
) -> None:
    context = ends.authority.server(HOST)
    context.load_verify_locations(ends.authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    url = f"rediss://{HOST}:{ends.front(valkey.socket, context).port}/0?ssl_ca_certs={ends.authority.file}"
    error = await told_by(url)
    assert "&ssl_certfile=" in str(error.fix)
    own = ends.authority.client(short_dir / "own.pem")
    async with connected(f"{url}&ssl_certfile={own}") as redis:
        assert await redis.ping()


async def test_what_answers_without_tls_is_told() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 some other service\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        error = await told_by(f"rediss://{HOST}:{server.sockets[0].getsockname()[1]}/0")
    assert (error.code, "does not speak TLS" in error.message) == ("redis-tls", True)


async def test_a_port_without_tls_is_suspected(short_dir: Path) -> None:
    port = free_ports(1)[0]
    server = ValkeyServer(short_dir, extra=("--bind", HOST, "--port", str(port))).launch()
    try:
        redis = connect(f"rediss://{HOST}:{port}/0", timeout_s=0.3)
        with pytest.raises(BoundaryDown) as told, redis_errors(f"rediss://{HOST}:{port}/0"):
            await redis.ping()
        await redis.aclose()
        assert (told.value.code, "redis://" in str(told.value.fix)) == ("timed-out", True)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs=/nowhere/ca.pem: No such file"),
        ("ssl_ca_certs={empty}", "no certificate"),
        ("ssl_certfile=/nowhere/own.pem", "ssl_certfile=/nowhere/own.pem: No such file"),
        ("ssl_cert_reqs=perhaps", "perhaps"),
        ("ssl_nonsense=1", "it has no option ssl_nonsense"),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_options_that_are_none_are_refused_before_anything_is_sent(
    tmp_path: Path, scheme: str, query: str, message: str
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(ConfigError) as told:
        connect(f"{scheme}://user:secret@{HOST}:1/?{query.format(empty=empty)}")
    assert message in told.value.message
    assert "secret" not in told.value.message


def test_a_person_with_the_wrong_ca_is_told_and_sees_no_traceback(
    valkey: ValkeyServer, ends: Ends, short_dir: Path
) -> None:
    port = ends.front(valkey.socket, ends.authority.server(HOST)).port
    lane = short_dir / "lane.toml"
    lane.write_text('lane = "main"\n[families.a]\nhandler = "noop"\n')
    ran = subprocess.run(
        [sys.executable, "-m", "joelclaw_tui", "enqueue", "a", "--data", "{}"],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(short_dir),
            "LANG": "C.UTF-8",
            "JOELCLAW_CONFIG_DIR": str(short_dir / "config"),
            "JOELCLAW_STATE_DIR": str(short_dir / "state"),
            "JOELCLAW_LANE": str(lane),
            "JOELCLAW_REDIS_URL": f"rediss://{HOST}:{port}/0?ssl_ca_certs={ends.stranger.file}",
            "JOELCLAW_RESTATE_INGRESS_URL": f"http://{HOST}:1",
            "JOELCLAW_RESTATE_ADMIN_URL": f"http://{HOST}:1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 3
    assert "not signed by a CA that is trusted here" in " ".join(ran.stderr.split())
    assert "?ssl_ca_certs=/path/to/ca.pem" in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
