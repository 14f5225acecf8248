"""The doctor on servers that the settings name: what the findings say of them, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.roles.fitness import FIXES, clock_checks, server_checks
from runtime.settings import Settings
from runtime.stack.doctor import Check, CheckStatus
from runtime.truth.findings import TABLE
from runtime.truth.rules import servers
from tests.lane.operating import until
from tests.servers import DkronServer, ValkeyServer
from tests.truth.ports import LANE


@pytest.fixture
def lane_file(tmp_path: Path) -> Path:
    path = tmp_path / "lane.toml"
    path.write_text(LANE)
    return path


async def examined(redis_url: str | None, lane_file: Path) -> dict[str, Check]:
    settings = Settings(
        state_dir=lane_file.parent / "state",
        lane=lane_file,
        redis_url=redis_url,
        restate_ingress_url="http://127.0.0.1:9",
        restate_admin_url="http://127.0.0.1:9",
    )
    return {check.name: check for check in await server_checks(settings)}


async def test_a_server_that_is_well_is_said_to_be(module_valkey: ValkeyServer, lane_file: Path) -> None:
    checks = await examined(module_valkey.url, lane_file)

    assert list(checks) == ["redis"]
    assert checks["redis"].status is CheckStatus.OK
    assert "valkey" in checks["redis"].message


async def test_a_server_that_may_drop_work_is_a_warning_with_what_to_do(
    module_valkey: ValkeyServer, lane_file: Path
) -> None:
    module_valkey.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        checks = await examined(module_valkey.url, lane_file)
    finally:
        module_valkey.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")

    check = checks["redis maxmemory-policy"]
    assert check.status is CheckStatus.WARN
    assert check.fix is not None
    assert "noeviction" in check.fix


async def test_each_server_of_a_dkron_is_examined_by_itself(dkron_url: str) -> None:
    settings = Settings(dkron_url=f"{dkron_url},http://127.0.0.1:9", probe_deadline_s=10)
    well, down = await clock_checks(settings)
    assert (well.status, down.status) == (CheckStatus.OK, CheckStatus.FAIL)
    assert "dkron" in well.message
    assert "led by" in well.message
    assert "http://127.0.0.1:9 can't be reached" in down.message
    assert down.fix == "start it, or correct dkron_url"


async def test_a_dkron_without_a_leader_is_not_told_as_well(
    own_dkrons: Callable[[int], list[DkronServer]],
) -> None:
    alone, gone = own_dkrons(2)
    gone.kill()
    settings = Settings(dkron_url=alone.url, probe_deadline_s=10)

    async def told() -> bool:
        (check,) = await clock_checks(settings)
        return check.status is CheckStatus.FAIL and "no leader" in check.message

    await until(told, "it has no leader")


async def test_the_embedded_clock_is_no_dkron_to_examine() -> None:
    assert await clock_checks(Settings()) == []


async def test_a_server_that_is_not_there_fails_the_check(lane_file: Path) -> None:
    checks = await examined("redis://127.0.0.1:9/", lane_file)

    assert [(check.status, check.fix) for check in checks.values()] == [
        (CheckStatus.FAIL, "start it, or correct redis_url")
    ]


async def test_an_address_that_can_be_none_fails_the_check(lane_file: Path) -> None:
    for query, why in (("ssl_ca_certs=/nowhere/ca.pem", "No such file"), ("x=1", "it has no option x")):
        checks = await examined(f"rediss://127.0.0.1:9/?{query}", lane_file)

        assert [(check.status, check.fix) for check in checks.values()] == [
            (CheckStatus.FAIL, "correct redis_url")
        ]
        assert why in checks["redis"].message


async def test_of_a_local_stack_that_does_not_run_other_checks_tell(lane_file: Path) -> None:
    assert await examined(None, lane_file) == {}


def test_every_finding_about_a_server_has_a_fix() -> None:
    about_servers = {rule.code for rule in TABLE if rule.see.__module__ == servers.__name__}

    assert about_servers <= set(FIXES)
