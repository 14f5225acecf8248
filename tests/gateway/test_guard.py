"""Who gets in, and what everybody else is told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from runtime.gateway.bind import check_exposure, is_loopback, listen
from runtime.model import Ack, ConfigError, Enqueued, Offer, OperatorError, Priority
from tests.gateway.door import TOKEN, BrokenReader, Door, DownReader, open_door


class NoIntake:
    """Nothing in these tests may get this far."""

    async def enqueue(
        self,
        family: str,
        payload: bytes | str,
        *,
        origin: str,
        priority: Priority | None = None,
        delay_s: float = 0.0,
        dedup_key: str | None = None,
        ack: Ack | None = None,
    ) -> Enqueued:
        raise AssertionError("the guard let a request through")

    async def enqueue_many(
        self, family: str, offers: Sequence[Offer], *, origin: str, ack: Ack | None = None
    ) -> Sequence[Enqueued | OperatorError]:
        raise AssertionError("the guard let a request through")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with open_door(NoIntake()) as opened:
        yield opened


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
    ],
)
async def test_without_the_token_nothing_is_told(door: Door, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with door.client(token=None) as client:
        for method, path in (
            ("GET", "/v1/snapshot"),
            ("POST", "/v1/families/feeds/items"),
            ("GET", "/nowhere"),
        ):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["error"]["code"] in ("no-token", "bad-token")
            assert TOKEN not in answer.text


async def test_two_authorization_headers_are_refused_even_if_one_is_right(door: Door) -> None:
    right = f"Authorization: Bearer {TOKEN}\r\n"
    status, _ = await door.raw(f"GET /v1/snapshot HTTP/1.1\r\nHost: localhost\r\n{right}{right}\r\n".encode())
    assert status == 401


async def test_health_needs_no_token_and_says_nothing_else(door: Door) -> None:
    async with door.client(token=None) as client:
        answer = await client.get("/v1/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:80", "", "[::2]:80", "localhost.evil"]
)
async def test_a_rebound_name_gets_nothing_even_with_the_token(door: Door, host: str) -> None:
    request = f"GET /v1/snapshot HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    status, body = await door.raw(request.encode())
    assert (status, body["error"]["code"]) == (421, "wrong-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:8700", "[::1]:8700", "127.9.9.9"])
async def test_every_loopback_name_is_served(door: Door, host: str) -> None:
    status, _ = await door.raw(f"GET /v1/healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert status == 200


async def test_the_snapshot_is_the_document_with_nothing_a_terminal_would_obey(door: Door) -> None:
    async with door.client() as client:
        answer = await client.get("/v1/snapshot")
    assert answer.json()["schema"] == "joelclaw.snapshot/1"
    assert answer.headers["cache-control"] == "no-store"
    assert not set(answer.text) & {"\x1b", "\x9b", "\u202e", "\x07"}
    assert "日本語" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "no-route"),
        ("GET", "/v1/snapshot/", 404, "no-route"),
        ("GET", "/v1/%1b%5b31m", 404, "no-route"),
        ("DELETE", "/v1/snapshot", 405, "method-not-allowed"),
        ("GET", "/v1/families/feeds/items", 405, "method-not-allowed"),
        ("POST", "/v1/webhooks/github", 404, "not-supported"),
        ("POST", "/v1/fires/feeds-hourly", 404, "unknown-schedule"),
        ("POST", "/v1/actions/pause", 404, "not-supported"),
        ("GET", "/v1/events", 404, "not-supported"),
        ("GET", "/v1/metrics", 404, "not-supported"),
    ],
)
async def test_every_other_place_answers_in_json(
    door: Door, method: str, path: str, status: int, code: str
) -> None:
    async with door.client() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "\x1b" not in answer.text


async def test_no_page_of_another_origin_is_ever_let_in(door: Door) -> None:
    async with door.client() as client:
        answer = await client.options(
            "/v1/snapshot", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        )
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_boundary_that_is_down_is_503_and_a_defect_500_without_details() -> None:
    async with open_door(NoIntake(), DownReader()) as door, door.client() as client:
        assert (await client.get("/v1/snapshot")).status_code == 503
    async with open_door(NoIntake(), BrokenReader()) as door, door.client() as client:
        answer = await client.get("/v1/snapshot")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "unexpected")
        assert "42" not in answer.text
        assert any("ZeroDivisionError" in line and "\x1b" not in line for line in door.log)


async def test_the_access_log_has_no_secrets(door: Door) -> None:
    async with door.client() as client:
        await client.get("/v1/snapshot?token=query-secret", headers={"Idempotency-Key": "key-secret"})
        await client.get("/v1/snapshot", headers={"Authorization": "Bearer wrong-secret"})
    assert len(door.log) == 2
    assert all("GET /v1/snapshot" in line for line in door.log)
    assert not any(
        secret in " ".join(door.log) for secret in (TOKEN, "query-secret", "key-secret", "wrong-secret")
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_the_gateway_does_not_start(host: str, token: str | None) -> None:
    with pytest.raises(ConfigError, match="no token") as refused:
        check_exposure(host, token)
    assert refused.value.fix is not None
    assert "JOELCLAW_GATEWAY_TOKEN" in refused.value.fix


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            listen("127.0.0.1", port)


def test_names_that_only_look_like_loopback_are_not() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("localhost.evil.example")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("")
