"""What the ingress client makes of answers that are not Restate's best."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from runtime.durable.ingress import Ingress
from runtime.model import BoundaryDown, Refused
from tests.durable.rig import a_request
from tests.servers import RestateServer


class Answers:
    """Stands in for an ingress that answers as no healthy one does."""

    def __init__(self) -> None:
        self.status = 202
        self.text = '{"invocationId": "inv_1", "status": "Accepted"}'
        self.at_once = 0
        self.most_at_once = 0
        self.hang = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(600 if self.hang else 0.01)
        self.at_once -= 1
        return web.Response(status=self.status, text=self.text)


@pytest.fixture
async def answers() -> AsyncIterator[Answers]:
    answers = Answers()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answers.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    answers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield answers
    await runner.cleanup()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_answer_against_the_request_is_a_refusal(answers: Answers, status: int) -> None:
    answers.status, answers.text = status, "\x1b[31mno"
    async with Ingress(answers.url, "main") as ingress:
        with pytest.raises(Refused) as refused:
            await ingress.start(a_request("a/b"))
    assert str(status) in refused.value.message
    assert "\x1b" not in refused.value.message


@pytest.mark.parametrize("status", [302, 401, 403, 404, 408, 429, 500, 503])
async def test_any_other_answer_leaves_it_open(answers: Answers, status: int) -> None:
    answers.status = status
    async with Ingress(answers.url, "main") as ingress:
        with pytest.raises(BoundaryDown):
            await ingress.start(a_request("a/b"))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"invocationId": 1, "status": "Accepted"}', '{"invocationId": "x", "status": "?"}'],
)
async def test_an_acceptance_that_is_not_restates_counts_for_nothing(answers: Answers, text: str) -> None:
    answers.text = text
    async with Ingress(answers.url, "main") as ingress:
        with pytest.raises(BoundaryDown):
            await ingress.start(a_request("a/b"))


async def test_a_hung_ingress_is_given_up_in_time(answers: Answers) -> None:
    answers.hang = True
    async with Ingress(answers.url, "main", timeout_s=0.2) as ingress:
        with pytest.raises(BoundaryDown, match=r"within 0\.2 s"):
            await ingress.start(a_request("a/b"))


async def test_requests_at_once_are_bounded_and_the_rest_wait(answers: Answers) -> None:
    async with Ingress(answers.url, "main", connections=4, timeout_s=2) as ingress:
        accepted = await asyncio.gather(*(ingress.start(a_request("a/b")) for _ in range(40)))
    assert len(accepted) == 40
    assert answers.most_at_once == 4


async def test_nobody_there_is_a_boundary_down(tmp_path: Path) -> None:
    for url in (
        "http://127.0.0.1:9",
        f"unix:{tmp_path}/none.sock",
        "http://nobody:secret@127.0.0.1:9",
        "http://[bad",
    ):
        async with Ingress(url, "main") as ingress:
            with pytest.raises(BoundaryDown) as down:
                await ingress.start(a_request("a/b"))
            assert "secret" not in down.value.message


async def test_a_malformed_request_is_refused_before_it_is_sent(answers: Answers) -> None:
    async with Ingress(answers.url, "main") as ingress:
        with pytest.raises(Refused):
            await ingress.start(replace(a_request("a/b"), payload="not json"))
    assert answers.most_at_once == 0


async def test_a_service_that_is_not_registered_yet_does_not_condemn_the_item(
    module_restate: RestateServer,
) -> None:
    async with Ingress(module_restate.ingress_url, "nowhere") as ingress:
        with pytest.raises(BoundaryDown) as down:
            await ingress.start(a_request("a/b"))
    assert down.value.code == "service-not-registered"
