"""What a run that hangs waits for, and each try that failed, are told."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from aiohttp import web

from joelclaw_tui.tui.screens.run import run_facts
from runtime.model import ItemState, RunView
from tests.lane.operating import operator_of, until
from tests.lane.processes import LaneProcesses
from tests.servers import RestateServer, ValkeyServer

SECRET = "sk-very-secret-value"


async def test_a_live_run_tells_what_it_waits_for_since_when_and_how_long_at_most(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(600)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", hang)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    text = f"""
lane = "main"
[families.http]
handler = "http"
url = "http://user:{SECRET}@127.0.0.1:{port}/hook?token={SECRET}"
timeout = "2m"
[families.command]
handler = "command"
command = ["sleep", "600"]
timeout = "3m"
[families.python]
handler = "python"
call = "time:sleep"
timeout = "4m"
"""
    lane = LaneProcesses(short_dir, valkey, restate, text)
    try:
        lane.start("worker")
        lane.start("drainer")
        async with operator_of(lane) as operator:
            expected = {
                "http": (rf"an answer of POST http://127\.0\.0\.1:{port}/hook", 120.0),
                "command": (r"program sleep to end \(process group [0-9]+\)", 180.0),
                "python": (r"time:sleep to return \(process group [0-9]+\)", 240.0),
            }
            runs = {
                family: (await operator.intake.enqueue(family, "600", origin="test")).item_id + ".1"
                for family in expected
            }
            found: dict[str, RunView] = {}

            async def told() -> bool:
                for family, run_id in runs.items():
                    view = await operator.reader.run(run_id)
                    waits = None if view is None else view.waits_for
                    if (
                        view is not None
                        and waits is not None
                        and re.fullmatch(expected[family][0], waits.what)
                    ):
                        found[family] = view
                return len(found) == len(runs)

            await until(told, f"all tell it: {found} {lane.log('worker')}")
            for family, (what, limit_s) in expected.items():
                waits = found[family].waits_for
                assert waits is not None
                assert re.fullmatch(what, waits.what), waits.what
                assert waits.limit_s == limit_s
                shown = lane.command("runs", "show", runs[family]).stdout.decode()
                assert "waits for: " in shown, shown
                document = json.loads(lane.command("runs", "show", runs[family], "--json").stdout)
                assert re.fullmatch(what, document["result"]["waits_for"]["what"])
                assert document["result"]["waits_for"]["limit_s"] == limit_s
                screen = "\n".join(line.plain for line in run_facts(found[family], waits.since + 42))
                assert re.search(rf"waits for +{what}, for 42s of at most {limit_s / 60:.0f}m", screen), (
                    screen
                )
                assert SECRET not in shown + json.dumps(document) + screen
    finally:
        lane.stop()
        await runner.cleanup()


async def test_each_failed_try_is_one_line_of_the_worker_s_log(
    short_dir: Path, valkey: ValkeyServer, restate: RestateServer
) -> None:
    text = """
lane = "main"
[families."a/fails"]
handler = "command"
command = ["sh", "-c", "printf 'no luck: %s \\\\033[31m' $TOKEN >&2; exit 4"]
env = { TOKEN = { env = "THE_TOKEN" } }
retry = { tries = 2, initial = "100ms" }
"""
    lane = LaneProcesses(short_dir, valkey, restate, text)
    lane.environment["THE_TOKEN"] = SECRET
    try:
        lane.start("worker")
        lane.start("drainer")
        async with operator_of(lane) as operator:
            item_id = (await operator.intake.enqueue("a/fails", "{}", origin="test")).item_id

            async def dead() -> bool:
                item = await operator.reader.item(item_id)
                return item is not None and item.state is ItemState.DEAD

            await until(dead, f"it is dead: {lane.log('worker')}")
        lines = [line for line in lane.log("worker").splitlines() if item_id in line]
        said = r"error=sh exited with 4: no luck: \*\*\* .*"
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
        same = rf"{time} failed run={item_id}\.1 item={item_id} family=a/fails"
        assert len(lines) == 2, lane.log("worker")
        assert sum("no luck" in line for line in lane.log("worker").splitlines()) == 2, lane.log("worker")
        assert re.fullmatch(rf"{same} try=1/2 again=0\.1s {said}", lines[0]), lines[0]
        assert re.fullmatch(rf"{same} try=2/2 again=never {said}", lines[1]), lines[1]
        assert SECRET not in lane.log("worker")
        assert "\x1b" not in lane.log("worker")
    finally:
        lane.stop()
