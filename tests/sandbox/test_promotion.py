"""Promoting and rejecting through the action layer, on real artifacts and a real repository."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.actions.apply import Actions
from runtime.actions.intents import Intent
from runtime.actions.verbs.promote import PromoteTerms
from runtime.model import NotFound, Promotion, ReadOnly, Receipt, ReceiptOutcome, Refused, UsageError
from runtime.sandbox.promote import branch_for
from runtime.sandbox.reading import ArtifactControl, ArtifactReader
from tests.sandbox.making import Ended, Workshop, commit, git
from tests.truth.ports import ADDRESSES, World, make_world

FIX = ["sh", "-c", "echo 42 > answer.txt"]
CHECK = [["sh", "-c", "test $(cat answer.txt) = 42"]]


def actions_on(world: World, shop: Workshop, *, read_only: bool = False) -> Actions:
    state = shop.folder / "state"
    return Actions(
        settings=world.settings.model_copy(update={"read_only": read_only}), lane=world.lane, pressure=world.pressure,
        control=world.pressure, durable=world.durable, runs=world.durable, beats=world.beats, audit=world.audit,
        now=world.clock, addresses=ADDRESSES, artifacts=ArtifactReader(state), sandbox=ArtifactControl(state, time.time),
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield make_world(tmp_path)


async def do(actions: Actions, action: str, *targets: str, **terms: Any) -> Receipt:
    intent = Intent(action, targets, reason="looks good", terms=PromoteTerms(**terms) if terms else None)
    return await actions.apply(await actions.preview(intent), actor="ada@host", origin="test")


def everything(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Bit for bit: content, mode and time of every file; the objects and the new branch apart."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(base, name)
            place = str(path.relative_to(folder))
            if place.startswith((".git/objects", ".git/refs/heads", ".git/logs/refs/heads")):
                continue
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[place] = (content, status.st_mode, status.st_mtime_ns if path.is_file() else 0)
    return found


def owners_of(folder: Path) -> set[int]:
    return {
        Path(base, name).lstat().st_uid
        for base, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def artifact_of(shop: Workshop, agent: list[str] = FIX, verify: list[list[str]] = CHECK) -> Ended:
    return shop.run(agent, verify=verify)


async def test_promoting_makes_a_branch_whose_tree_passes_and_touches_no_checkout(
    shop: Workshop, world: World, tmp_path: Path
) -> None:
    ended = artifact_of(shop)
    assert ended.state.artifact_id is not None
    (shop.repo / "answer.txt").write_text("a person's own dirty work\n")
    (shop.repo / "untracked").write_text("x")
    git(shop.repo, "add", "untracked")
    hook = shop.repo / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    before = everything(shop.repo)
    receipt = await do(actions_on(world, shop), "promote", ended.state.artifact_id)
    assert everything(shop.repo) == before
    assert not (tmp_path / "hook-ran").exists()
    assert [result.outcome for result in receipt.results] == [ReceiptOutcome.DONE]
    assert world.audit.receipts == [receipt]
    branch = branch_for(ended.state.run_id)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--branch", branch, str(shop.repo), str(clone))
    assert (clone / "answer.txt").read_text() == "42\n"
    assert git(clone, "rev-parse", "HEAD^{tree}").strip() == ended.manifest["tree_sha"]
    assert git(clone, "rev-parse", "HEAD^").strip() == ended.manifest["base_sha"]
    artifact = await ArtifactReader(shop.folder / "state").artifact(ended.state.artifact_id)
    assert artifact.promotion is Promotion.PROMOTED
    assert artifact.decision is not None
    assert (artifact.decision.actor, artifact.decision.branch) == ("ada@host", branch)


async def test_a_short_unambiguous_id_and_a_branch_of_ones_own_will_do(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    actions = actions_on(world, shop)
    await do(actions, "promote", ended.artifact.name[:12], branch="fix/answer")
    assert git(shop.repo, "rev-parse", "fix/answer").strip() == ended.manifest["commit"]
    for wanted in (ended.artifact.name[:6], "../../etc", "zz" * 10, "0" * 64):
        with pytest.raises(NotFound):
            await do(actions, "promote", wanted)


@pytest.mark.parametrize(
    "name", ["-x", "a..b", "a b", "HEAD", "x.lock", "refs/heads/x", "a\nb", "@", "x~1", "é" * 300]
)
async def test_a_name_that_is_no_branch_is_refused(shop: Workshop, world: World, name: str) -> None:
    with pytest.raises(Refused) as refused:
        await do(actions_on(world, shop), "promote", artifact_of(shop).artifact.name, branch=name)
    assert refused.value.code == "bad-branch-name"


async def test_a_base_that_moved_on_is_named_and_nothing_is_lost(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    commit(shop.repo, {"later.txt": "x"})
    with pytest.raises(Refused) as refused:
        await do(actions_on(world, shop), "promote", ended.artifact.name)
    assert refused.value.code == "stale-artifact"
    assert "the base moved on: main is at" in refused.value.message
    assert refused.value.fix is not None
    assert "replay" in refused.value.fix
    artifact = await ArtifactReader(shop.folder / "state").artifact(ended.artifact.name)
    assert artifact.promotion is Promotion.STALE
    assert git(shop.repo, "branch", "--list", "joelclaw/*") == ""


async def test_a_base_that_moves_after_the_preview_is_noticed(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    actions = actions_on(world, shop)
    preview = await actions.preview(Intent("promote", (ended.artifact.name,)))
    commit(shop.repo, {"later.txt": "x"})
    receipt = await actions.apply(preview, actor="ada", origin="test")
    assert [result.outcome for result in receipt.results] == [ReceiptOutcome.REFUSED]
    assert "moved on" in (receipt.results[0].detail or "")


async def test_a_branch_that_exists_is_refused_and_left_alone(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    git(shop.repo, "branch", "mine")
    at = git(shop.repo, "rev-parse", "mine")
    with pytest.raises(Refused, match="branch mine exists"):
        await do(actions_on(world, shop), "promote", ended.artifact.name, branch="mine")
    assert git(shop.repo, "rev-parse", "mine") == at


async def test_a_branch_that_a_checkout_stands_on_is_refused_also_before_its_first_commit(
    shop: Workshop, world: World
) -> None:
    ended = artifact_of(shop)
    git(shop.repo, "checkout", "--quiet", "--orphan", "next")
    before = git(shop.repo, "status", "--porcelain")
    with pytest.raises(Refused, match="a checkout stands on branch next"):
        await do(actions_on(world, shop), "promote", ended.artifact.name, branch="next")
    assert git(shop.repo, "status", "--porcelain") == before
    assert git(shop.repo, "for-each-ref", "refs/heads/next") == ""


async def test_what_no_verification_passed_needs_to_be_asked_for(shop: Workshop, world: World) -> None:
    actions = actions_on(world, shop)
    failed = artifact_of(shop, ["sh", "-c", "echo 43 > answer.txt"])
    absent = artifact_of(shop, FIX, [])
    crashed = artifact_of(shop, ["sh", "-c", "echo 42 > answer.txt; exit 1"])
    for ended in (failed, absent, crashed):
        with pytest.raises(Refused) as refused:
            await do(actions, "promote", ended.artifact.name)
        assert refused.value.code == "not-verified"
        preview = await actions.preview(
            Intent("promote", (ended.artifact.name,), terms=PromoteTerms(unverified=True))
        )
        assert any("not verified" in warning for warning in preview.warnings)
    await do(actions, "promote", failed.artifact.name, unverified=True)
    assert git(shop.repo, "show", f"{branch_for(failed.state.run_id)}:answer.txt") == "43\n"


async def test_an_artifact_that_was_tampered_with_is_not_promoted(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    bundle = ended.artifact / "change.bundle"
    data = bytearray(bundle.read_bytes())
    data[-30] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(Refused) as refused:
        await do(actions_on(world, shop), "promote", ended.artifact.name)
    assert refused.value.code == "artifact-damaged"


async def test_a_change_of_nothing_is_not_promoted(shop: Workshop, world: World) -> None:
    with pytest.raises(Refused, match="changes nothing"):
        await do(actions_on(world, shop), "promote", artifact_of(shop, ["true"], []).artifact.name)


async def test_promoting_twice_is_promoting_once(shop: Workshop, world: World) -> None:
    """Also when the process was killed between making the branch and writing that down."""
    ended = artifact_of(shop)
    actions = actions_on(world, shop)
    await do(actions, "promote", ended.artifact.name)
    with pytest.raises(Refused, match="promoted already"):
        await do(actions, "promote", ended.artifact.name)
    (ended.artifact / "promotion.jsonl").write_text('{"outcome": "promo')
    receipt = await do(actions, "promote", ended.artifact.name)
    assert [result.outcome for result in receipt.results] == [ReceiptOutcome.DONE]
    assert len((ended.artifact / "promotion.jsonl").read_text().splitlines()) == 2


async def test_a_rejected_artifact_is_kept_and_stays_rejected(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    actions = actions_on(world, shop)
    preview = await actions.preview(Intent("reject", (ended.artifact.name,)))
    assert preview.destructive
    await actions.apply(preview, actor="ada", origin="test")
    for action in ("promote", "reject"):
        with pytest.raises(Refused) as refused:
            await do(actions, action, ended.artifact.name)
        assert refused.value.code == "decided-already"
    assert (ended.artifact / "patch.diff").exists()
    artifact = await ArtifactReader(shop.folder / "state").artifact(ended.artifact.name)
    assert artifact.promotion is Promotion.REJECTED
    assert artifact.decision is not None
    assert artifact.decision.actor == "ada"


@pytest.mark.parametrize("mine", ["promote", "reject"])
@pytest.mark.parametrize("theirs", ["promote", "reject"])
async def test_what_somebody_else_decided_since_the_preview_stays_and_is_told(
    shop: Workshop, world: World, mine: str, theirs: str
) -> None:
    """Also where both promote: the same branch, or another one beside it."""
    actions = actions_on(world, shop)
    branches = (None, "mine") if mine == "promote" else (None,)
    for branch in branches:
        artifact = artifact_of(shop).artifact
        preview = await actions.preview(
            Intent(mine, (artifact.name,), terms=PromoteTerms(branch) if branch else None)
        )
        other = await actions.preview(Intent(theirs, (artifact.name,)))
        await actions.apply(other, actor="ana@there", origin="test")
        receipt = await actions.apply(preview, actor="ada@here", origin="test")
        (result,) = receipt.results
        assert result.outcome is ReceiptOutcome.REFUSED
        did = "promoted" if theirs == "promote" else "rejected"
        assert did in (result.detail or "") and "by ana@there" in (result.detail or ""), result
        kept = await ArtifactReader(shop.folder / "state").artifact(artifact.name)
        assert kept.decision is not None and kept.decision.actor == "ana@there"
        assert git(shop.repo, "branch", "--list", "mine") == ""
        if kept.decision.branch:
            git(shop.repo, "branch", "-D", kept.decision.branch)


async def test_read_only_mode_refuses_both(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    for action in ("promote", "reject"):
        with pytest.raises(ReadOnly):
            await do(actions_on(world, shop, read_only=True), action, ended.artifact.name)
    assert not (ended.artifact / "promotion.jsonl").exists()
    assert git(shop.repo, "branch", "--list", "joelclaw/*") == ""


async def test_several_are_one_action_and_one_branch_is_not_for_several(shop: Workshop, world: World) -> None:
    first, second = artifact_of(shop), artifact_of(shop, ["sh", "-c", "echo 42 > answer.txt; echo b > b"])
    actions = actions_on(world, shop)
    with pytest.raises(UsageError):
        await do(actions, "promote", first.artifact.name, second.artifact.name, branch="both")
    receipt = await do(actions, "promote", first.artifact.name, second.artifact.name)
    assert [result.outcome for result in receipt.results] == [ReceiptOutcome.DONE] * 2
    assert len(git(shop.repo, "branch", "--list", "joelclaw/*").split()) == 2


async def test_a_repository_of_another_user_gets_no_file_of_ours(shop: Workshop, world: World) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can write into another user's repository")
    ended = artifact_of(shop)
    shop.folder.chmod(0o711)
    Workshop._give(shop.repo)
    await do(actions_on(world, shop), "promote", ended.artifact.name)
    owners = owners_of(shop.repo)
    assert len(owners) == 1
    assert 0 not in owners


async def test_looking_at_artifacts_writes_nothing(shop: Workshop, world: World) -> None:
    ended = artifact_of(shop)
    before = everything(shop.folder)
    reading = ArtifactReader(shop.folder / "state")
    await reading.read()
    await reading.artifact(ended.artifact.name)
    await reading.check(ended.artifact.name)
    await actions_on(world, shop).preview(Intent("promote", (ended.artifact.name,)))
    assert everything(shop.folder) == before
