"""The lane's schedules on a clock behind Dkron's REST API, where a real Dkron is one that misleads.

Each test runs on a real Dkron where there is one; what the embedded clock can do too runs on both.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from runtime.clock.client import Dkron
from runtime.clock.clock import AppliedChange, Clock
from runtime.clock.compile import ONE_NODE, FireTarget, job_name
from runtime.clock.jobs import parse_stamp
from runtime.clock.schedule_reconciler import Keeper
from runtime.common.addresses import Addresses
from runtime.lane.lane_file import LaneSource
from runtime.ledger.applied import Applied
from runtime.ledger.fires import Fires
from runtime.model import (
    BoundaryDown,
    ChangeKind,
    ClockJob,
    Fire,
    FireAnswer,
    FireDecision,
    FireKind,
    Refused,
    ScheduleReading,
    fire_id_of,
)
from runtime.pressure.reading import QueueReader
from runtime.redis_client.connection import connect
from runtime.roles.fires import FireStands
from runtime.settings import Settings
from tests.clock.test_contract import Target, a_job, embedded, target
from tests.lane.operating import until
from tests.servers import DkronServer, ValkeyServer

__all__ = ["target"]

Dkrons = Callable[[int], list[DkronServer]]


def lane_text(name: str, **crons: str) -> str:
    schedules = "".join(
        f'[schedules.{schedule}]\ncron = "{cron}"\nfamily = "quick"\n'
        + ("" if cron.startswith("@") else 'timezone = "Asia/Tokyo"\n')
        for schedule, cron in crons.items()
    )
    return f'lane = "{name}"\n[families."quick"]\nhandler = "noop"\n{schedules}'


class Hands:
    """A lane's clock as the processes hold it, without the processes."""

    def __init__(self, clock: Clock, dkron: Dkron, fires: Fires, lane: LaneSource, file: Path) -> None:
        self.clock = clock
        self.dkron = dkron
        self.fires = fires
        self.lane = lane
        self.name = lane.current.name
        self._file = file
        self.told: list[Sequence[AppliedChange]] = []
        self.caught_up: list[str] = []

    def keeper(self) -> Keeper:
        async def catch_up(schedule: str) -> FireAnswer:
            self.caught_up.append(schedule)
            return FireAnswer("x", FireDecision.STARTED, None)

        async def applied(changes: Sequence[AppliedChange]) -> None:
            self.told.append(changes)

        return Keeper(
            self.clock,
            self.lane,
            self.fires,
            NothingEnds(),
            time.time,
            catch_up=catch_up,
            applied=applied,
            log=lambda line: None,
            apply_again_s=0.2,
        )

    def rewrite(self, text: str) -> None:
        self._file.write_text(text)
        self.lane.refresh()

    async def job(self, schedule: str) -> ClockJob:
        job = await self.dkron.job(job_name(self.name, schedule))
        assert job is not None
        return job

    async def row(self, schedule: str) -> ScheduleReading:
        return next(row for row in (await self.clock.read()).schedules if row.name == schedule)

    async def fired(self, schedule: str, instant: float) -> None:
        """As if the schedule's object had decided about that instant."""
        await self.fires.record(
            Fire(
                fire_id=fire_id_of(schedule, instant),
                schedule=schedule,
                family="quick",
                kind=FireKind.SCHEDULED,
                instant=instant,
                decided_at=instant,
                late=False,
                decision=FireDecision.MISFIRE,
                via="queue",
                work_id=None,
            )
        )


class NothingEnds:
    async def ended(self, fire: Fire) -> tuple[str, float] | None:
        return None


@asynccontextmanager
async def hands(
    folder: Path, valkey: ValkeyServer, url: str, gateway: str = "http://127.0.0.1:9", **crons: str
) -> AsyncIterator[Hands]:
    """A lane of a name of its own on the clock at ``url``; its jobs are gone afterwards."""
    name = f"jt{secrets.token_hex(4)}"
    file = folder / "lane.toml"
    file.write_text(lane_text(name, **crons))
    redis = connect(valkey.url)
    lane = LaneSource(file, time.time)
    fires = Fires(redis, valkey.url, name, keep_s=3600)
    target = FireTarget(gateway, "a-token")

    async def ask(schedule: str, actor: str) -> FireAnswer:
        raise AssertionError("nobody asks for a fire here")

    async with Dkron(url) as dkron:
        applied = Applied(redis, valkey.url, name)
        stands = FireStands(QueueReader(redis, valkey.url, name), lane)
        clock = Clock(dkron, lane, fires, applied, lambda: target, time.time, ask=ask, stands=stands)
        try:
            yield Hands(clock, dkron, fires, lane, file)
        finally:
            try:
                jobs = [job for job in await dkron.jobs() if job.name.startswith(f"{name}_")]
                for job in sorted(jobs, key=lambda job: not job.parent_job):
                    await dkron.delete(job.name)
            except BoundaryDown:
                pass  # the test has ended it
            await redis.aclose()


@pytest.fixture(params=["embedded", "dkron"])
async def url(request: pytest.FixtureRequest, short_dir: Path) -> AsyncIterator[str]:
    if request.param == "dkron":
        yield request.getfixturevalue("dkron_url")
        return
    async with embedded(short_dir) as address:
        yield address


@asynccontextmanager
async def kept(keeper: Keeper) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def test_next_is_of_our_own_grid_whatever_the_clock_computes(
    short_dir: Path, module_valkey: ValkeyServer, url: str
) -> None:
    async with hands(short_dir, module_valkey, url, night="0 30 2 * * *", hand="@manually") as lane:
        await lane.clock.apply_all()
        grid = lane.lane.current.schedules["night"].grid
        assert (await lane.row("night")).next == grid.after(time.time())
        assert (await lane.row("hand")).next is None
        await lane.clock.set_enabled("night", False)
        assert (await lane.row("night")).next is None
        await lane.clock.set_enabled("night", True)
        assert (await lane.row("night")).next == grid.after(time.time())


async def test_a_job_of_an_undeclared_schedule_has_the_clock_s_next_only_while_it_lies_ahead(
    short_dir: Path, module_valkey: ValkeyServer, url: str
) -> None:
    async with hands(short_dir, module_valkey, url, night="0 30 2 * * *", gone="@yearly") as lane:
        await lane.clock.apply_all()
        lane.rewrite(lane_text(lane.name, night="0 30 2 * * *"))
        row = await lane.row("gone")
        assert (row.declared, row.drift) == (False, "the lane file no longer declares it")
        assert row.next is not None
        assert row.next > time.time()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("tags", {"role": "dkron", "engine": "joelclaw-embedded"}, "tags.role"),
        ("tags", {"role": "nobody"}, "tags.role"),
        ("tags", {}, "tags.role"),
        ("ephemeral", True, "ephemeral"),
        ("starts_at", 4_000_000_000.0, "starts_at"),
        ("expires_at", 1_000_000_000.0, "expires_at"),
        ("processors", {"log": '{"forward": "true"}'}, "processors.log"),
        ("owner", "mallory", "owner"),
        ("owner_email", "m@example.com", "owner_email"),
        ("parent_job", "(another)", "parent_job"),
        ("retries", 3, "retries"),
        ("concurrency", "forbid", "concurrency"),
    ],
)
async def test_every_field_that_can_stop_a_schedule_is_drift_and_can_be_applied_away(
    short_dir: Path, module_valkey: ValkeyServer, url: str, field: str, value: object, told: str
) -> None:
    async with hands(short_dir, module_valkey, url, night="0 30 2 * * *") as lane:
        await lane.clock.apply_all()
        job = await lane.job("night")
        assert job.tags == ONE_NODE
        if field == "parent_job":
            value = job_name(lane.name, "parent")
            await lane.dkron.put(a_job(str(value), metadata={}))
        try:
            await lane.dkron.put(replace(job, **{field: value}))  # type: ignore[arg-type]
        except Refused as error:
            # The embedded clock has no such thing: it says so, and keeps the job as it was.
            assert url.startswith("unix:") and field.partition("_")[0] in error.message
            assert await lane.clock.changes() == []
            return
        (change,) = await lane.clock.changes()
        assert change.kind is ChangeKind.UPDATE
        assert told in [name for name, _, _ in change.fields]
        assert told in ((await lane.row("night")).drift or "")
        assert await lane.clock.carry("night", change.digest)
        assert await lane.clock.changes() == []
        mended = await lane.job("night")
        assert getattr(mended, field) == getattr(job, field)


async def test_a_delete_that_the_clock_did_not_do_is_no_success_and_is_tried_again(
    short_dir: Path, module_valkey: ValkeyServer, dkron_url: str
) -> None:
    crons = {"night": "0 30 2 * * *", "parent": "@yearly"}
    async with hands(short_dir, module_valkey, dkron_url, **crons) as lane, kept(keeper := lane.keeper()):

        async def applied() -> bool:
            return keeper.state.applied_sha256 == lane.lane.current.sha256

        await until(applied, "the keeper applied the lane", within_s=30)
        child = a_job(f"{lane.name}_child", metadata={}, parent_job=job_name(lane.name, "parent"))
        await lane.dkron.put(child)
        lane.told.clear()
        lane.rewrite(lane_text(lane.name, night="0 30 2 * * *"))

        async def problem() -> bool:
            return "depend on it" in (keeper.state.problem or "")

        await until(problem, "the keeper says that the job is still there", within_s=30)
        assert not await applied()
        assert (await lane.job("parent")).dependent_jobs == (child.name,)
        ((failed,),) = lane.told
        assert failed.change.kind is ChangeKind.DELETE
        assert child.name in (failed.problem or "")
        assert await lane.dkron.delete(child.name)
        await until(applied, "the keeper tried again", within_s=30)
        assert await lane.dkron.job(job_name(lane.name, "parent")) is None
        # Each told once: that it failed, and that it was done.
        assert [one.problem is None for changes in lane.told for one in changes] == [False, True]


async def test_what_is_refused_stops_no_other_change_and_both_are_receipted(
    short_dir: Path, module_valkey: ValkeyServer, dkron_url: str
) -> None:
    async with hands(short_dir, module_valkey, dkron_url, parent="@yearly") as lane:
        await lane.clock.apply_all()
        await lane.dkron.put(
            a_job(f"{lane.name}_child", metadata={}, parent_job=job_name(lane.name, "parent"))
        )
        lane.rewrite(lane_text(lane.name, one="@daily", two="@hourly"))
        outcomes = {one.change.schedule: one.problem for one in await lane.clock.apply_all()}
        assert outcomes.pop("parent") is not None
        assert outcomes == {"one": None, "two": None}


async def test_without_a_leader_the_schedules_are_told_and_nothing_is_taken_for_done(
    short_dir: Path, module_valkey: ValkeyServer, own_dkrons: Dkrons
) -> None:
    nodes = own_dkrons(2)
    async with hands(short_dir, module_valkey, nodes[0].url, night="0 30 2 * * *") as lane:
        await lane.clock.apply_all()
        nodes[1].kill()

        async def leaderless() -> bool:
            return (await lane.clock.read()).source.leader is None

        await until(leaderless, "the one server left has no leader", within_s=60)
        reading = await lane.clock.read()
        assert [(row.name, row.enabled) for row in reading.schedules] == [("night", True)]
        job = await lane.job("night")
        for refused in (
            lane.dkron.delete(job.name),
            lane.dkron.put(replace(job, disabled=True)),
            lane.dkron.run(job.name),
        ):
            with pytest.raises(BoundaryDown):
                await refused
        nodes[1].launch()

        async def led() -> bool:
            return (await lane.clock.read()).source.leader is not None

        await until(led, "a leader again", within_s=60)
        kept_job = await lane.job("night")
        assert not kept_job.disabled


async def test_of_several_servers_one_runs_a_job_of_ours_and_an_untagged_one_runs_on_all(
    short_dir: Path, module_valkey: ValkeyServer, own_dkrons: Dkrons, target: Target
) -> None:
    nodes = own_dkrons(3)
    gateway = f"http://127.0.0.1:{target.port}"
    async with hands(short_dir, module_valkey, nodes[0].url, gateway, often="@every 1s") as lane:
        other = a_job(f"{lane.name}_other", target.port, schedule="* * * * * *", metadata={})
        await lane.dkron.put(other)
        await lane.clock.apply_all()

        async def groups(name: str) -> list[int]:
            rows = await lane.dkron.executions(name)
            by_group: dict[str, int] = {}
            for row in rows:
                if row.finished_at is not None:
                    by_group[row.group] = by_group.get(row.group, 0) + 1
            return list(by_group.values())

        async def enough() -> bool:
            return len(await groups(other.name)) > 3 and len(await groups(job_name(lane.name, "often"))) > 3

        await until(enough, "each ran three times", within_s=60)
        assert set(await groups(job_name(lane.name, "often"))) == {1}
        assert max(await groups(other.name)) == 3


async def test_another_server_is_asked_when_one_is_gone_hangs_or_has_no_leader(
    short_dir: Path, module_valkey: ValkeyServer, own_dkrons: Dkrons
) -> None:
    nodes = own_dkrons(3)
    addresses = ", ".join(node.url for node in nodes)
    async with hands(short_dir, module_valkey, addresses, night="0 30 2 * * *") as lane:
        await lane.clock.apply_all()
        leader = (await lane.clock.source()).leader
        led = next(node for node in nodes if node.node == leader)
        others = [node for node in nodes if node is not led]
        led.kill()

        async def another() -> bool:
            return (await lane.clock.source()).leader not in (None, leader)

        await until(another, "another leader is told", within_s=60)
        assert await lane.clock.set_enabled("night", False)
        assert (await lane.row("night")).enabled is False
        led.launch()

        async def whole() -> bool:
            return all(node.leads() for node in nodes)

        await until(whole, "all three follow the leader", within_s=60)
        hung = others[0]
        hung.signal(signal.SIGSTOP)
        try:
            async with hands_at(lane, f"{hung.url},{led.url},{others[1].url}") as second:
                began = time.monotonic()
                assert await second.job(job_name(lane.name, "night")) is not None
                again = time.monotonic()
                assert again - began < 8.0, "the hung one was waited for"
                # From now on the one that answered is asked first.
                assert await second.job(job_name(lane.name, "night")) is not None
                assert time.monotonic() - again < again - began
        finally:
            hung.signal(signal.SIGCONT)


@asynccontextmanager
async def hands_at(lane: Hands, addresses: str) -> AsyncIterator[Dkron]:
    async with Dkron(addresses) as dkron:
        yield dkron


async def test_a_clock_that_lost_its_data_is_told_and_applied_again_by_choice(
    short_dir: Path, module_valkey: ValkeyServer, own_dkrons: Dkrons
) -> None:
    (node,) = own_dkrons(1)
    crons = {"often": "*/2 * * * * *", "off": "@yearly"}
    async with hands(short_dir, module_valkey, node.url, **crons) as lane:
        async with kept(keeper := lane.keeper()):

            async def applied() -> bool:
                return keeper.state.applied_sha256 is not None

            await until(applied, "the keeper applied the lane", within_s=30)
        await lane.clock.set_enabled("off", False)
        first = (await lane.job("often")).metadata["since"]
        assert not (await lane.clock.read()).lost
        node.kill()
        node.lose_data()
        node.launch()
        assert (await lane.clock.read()).lost
        # Another keeper on the same lane leaves it to a person, and catches nothing up for it.
        lane.caught_up.clear()
        lane.told.clear()
        async with kept(again := lane.keeper()):

            async def looked() -> bool:
                return again.state.applied_sha256 is not None

            await until(looked, "the next keeper saw what was applied", within_s=30)
        assert (lane.told, lane.caught_up) == ([], [])
        assert await lane.dkron.jobs({"lane": lane.name}) == []

        async def missed() -> bool:
            return ((await lane.row("often")).missed or 0) > 0

        await until(missed, "what passed is told as missed", within_s=60)
        for change in await lane.clock.changes():
            assert change.kind is ChangeKind.CREATE
            assert await lane.clock.carry(change.schedule, change.digest)
        assert not (await lane.clock.read()).lost
        assert (await lane.job("often")).metadata["since"] == first
        assert (await lane.job("off")).disabled


async def test_only_a_job_that_is_gone_takes_up_since_when_it_counted(
    short_dir: Path, module_valkey: ValkeyServer, url: str
) -> None:
    crons = {"edited": "0 30 2 * * *", "gone": "0 30 3 * * *"}
    async with hands(short_dir, module_valkey, url, **crons) as lane:
        await lane.clock.apply_all()
        edited, gone = await lane.job("edited"), await lane.job("gone")
        await lane.dkron.put(replace(edited, schedule="0 45 2 * * *"))
        await lane.dkron.delete(gone.name)
        before = time.time()
        await lane.clock.apply_all()
        # The one that somebody set to another time counts anew, whether or not another is missing.
        told = parse_stamp((await lane.job("edited")).metadata["since"])
        assert told is not None
        assert told >= before
        assert (await lane.job("gone")).metadata["since"] == gone.metadata["since"]


async def test_a_call_that_failed_is_told_with_its_reason_until_its_instant_is_decided(
    short_dir: Path, module_valkey: ValkeyServer, url: str, target: Target
) -> None:
    target.status = 503
    gateway = f"http://127.0.0.1:{target.port}"
    async with hands(short_dir, module_valkey, url, gateway, night="0 30 2 * * *") as lane:
        await lane.clock.apply_all()
        row = await lane.row("night")
        assert (row.call_failed_at, row.call_error) == (None, None)
        await lane.dkron.run(job_name(lane.name, "night"))

        async def told() -> bool:
            return (await lane.row("night")).call_failed_at is not None

        await until(told, "the failed call is told", within_s=30)
        row = await lane.row("night")
        # The target's own words; of the status a real Dkron says only that it was not the expected one.
        assert "said" in (row.call_error or "")
        (call,) = await lane.clock.failed_calls("night")
        assert "said" in call.output
        instant = lane.lane.current.schedules["night"].grid.at_or_before(time.time())
        assert instant is not None
        await lane.fired("night", instant)
        assert (await lane.row("night")).call_failed_at is None
        assert len(await lane.clock.failed_calls("night")) == 1


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ("http://a:1", ("http://a:1",)),
        ("http://a:1, https://b:2,unix:/run/x,y.sock", ("http://a:1", "https://b:2", "unix:/run/x,y.sock")),
        (["http://a:1", "http://b:1"], ("http://a:1", "http://b:1")),
    ],
)
def test_the_settings_take_several_addresses(given: object, addresses: tuple[str, ...]) -> None:
    settings = Settings(dkron_url=given)  # type: ignore[arg-type]
    assert settings.dkron_url is not None
    assert Dkron(settings.dkron_url).addresses == tuple(sorted(addresses))
    for bad in ("ftp://a:1", "http://a:1 http://b:1", "http://a:1,b:1 c", [7]):
        with pytest.raises(ValueError, match="dkron_url"):
            Settings(dkron_url=bad)  # type: ignore[arg-type]


def test_no_address_is_shown_with_its_credentials() -> None:
    url = "http://u:secret@a:1,http://u:secret@b:1"
    assert Dkron(url).url == "http://a:1,http://b:1"
    assert Addresses("", "", "", clock=url).clock == "http://a:1,http://b:1"


# --- answers that no Dkron gives

ANSWERS: dict[str, tuple[int, str, bytes, str]] = {
    "a web page": (200, "text/html", b"<html><script>1</script>", "not JSON"),
    "an error page": (502, "text/html", b"<html><b>Bad gateway", "a web page"),
    "a redirect": (302, "text/plain", b"", "redirects to"),
    "a table for a list": (200, "application/json", b"{}", "something else than a list of jobs"),
    "texts for jobs": (200, "application/json", b'["a"]', "something else than a list of jobs"),
    "a job without a name": (200, "application/json", b'[{"schedule": "@daily"}]', "without a name"),
    "a name that is a number": (200, "application/json", b'[{"name": 7}]', "name that is not text"),
    "metadata of tables": (
        200,
        "application/json",
        b'[{"name": "a", "metadata": {"owner": {}}}]',
        "metadata that are not names and texts",
    ),
    "an instant that is none": (
        200,
        "application/json",
        b'[{"name": "a", "last_error": "soon\\u001b[31m"}]',
        "no instant",
    ),
    "depth": (200, "application/json", b"[" * 100_000, "not JSON"),
    "more jobs than one look takes": (200, "application/json", b"[]", "more than the 10,000"),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_what_no_dkron_answers_is_refused_by_name_and_is_no_empty_list(kind: str) -> None:
    status, content_type, body, said = ANSWERS[kind]

    async def answer(request: web.Request) -> web.Response:
        headers = {"Location": "http://elsewhere.example/"} if status == 302 else {}
        headers |= {"X-Total-Count": "10001"} if kind.startswith("more") else {}
        return web.Response(status=status, body=body, content_type=content_type, headers=headers)

    async with strange(answer) as address, Dkron(address) as dkron:
        with pytest.raises(BoundaryDown) as refused:
            await dkron.jobs()
        assert said in refused.value.message
        assert refused.value.message.isprintable()


async def test_a_body_without_end_is_cut_off() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 1_000_000)
        except ConnectionError:
            return response

    async with strange(answer) as address, Dkron(address) as dkron:
        with pytest.raises(BoundaryDown, match="more than"):
            await dkron.jobs()


async def test_a_server_that_is_no_dkron_is_not_told_as_one() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async with strange(answer) as address, Dkron(address) as dkron:
        with pytest.raises(BoundaryDown, match="version"):
            await dkron.source()


async def test_an_acknowledged_save_that_was_not_kept_is_no_success() -> None:
    async def answer(request: web.Request) -> web.Response:
        kept_job = {"name": "a", "schedule": "@yearly"}
        return web.json_response(kept_job, status=201 if request.method == "POST" else 200)

    async with strange(answer) as address, Dkron(address, settle_within_s=0.2) as dkron:
        with pytest.raises(BoundaryDown, match="does not have it as it was sent"):
            await dkron.put(a_job("a"))


@asynccontextmanager
async def strange(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
