"""Promotion: an artifact's one commit becomes a new branch of its repository, and nothing else changes there.

Objects are added and one reference is created, where there was none. No checkout, index, HEAD or hook is
touched, read or run. As root, all of it happens with the rights of the repository's owner, so that no file
in there becomes root's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runtime.common.text import one_line
from runtime.model import (
    Artifact,
    Decision,
    Now,
    OperatorError,
    Promotion,
    PromotionDraft,
    Refused,
    Verified,
    decision_stamp,
)
from runtime.sandbox import artifact as artifacts
from runtime.sandbox.artifact import BUNDLE, KeptArtifact
from runtime.sandbox.files import waiting_lock
from runtime.sandbox.git import Account, GitFailed, account_of, run_git
from runtime.sandbox.mirror import git_dir_of
from runtime.sandbox.patch import open_pack
from runtime.sandbox.paths import Paths

BRANCH_PREFIX = "joelclaw/"
_SHORT = 10
"""Characters of an item id's random part (50 bits): its beginning is a time that many share."""


def branch_for(run_id: str) -> str:
    """``joelclaw/<short run id>``; a fire's run is named by its schedule and instant."""
    item, _, attempt = run_id.rpartition(".")
    if "@" in item:
        return f"{BRANCH_PREFIX}{re.sub(r'[^0-9A-Za-z_-]+', '-', item).strip('-')}.{attempt}"
    return f"{BRANCH_PREFIX}{item.partition('-')[0][-_SHORT:]}.{attempt}"


@dataclass(frozen=True, slots=True)
class _Target:
    git_dir: Path
    account: Account | None

    def git(self, *arguments: str, given: bytes | None = None) -> str:
        output = run_git(list(arguments), git_dir=self.git_dir, account=self.account, given=given)
        return output.decode("utf-8", "replace").strip()

    def commit(self, name: str) -> str | None:
        """The SHA of a commit's name; None when there is no such commit."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitFailed:
            return None


def draft(places: Paths, wanted: str, branch: str | None, *, unverified: bool) -> PromotionDraft:
    """All checks, by looking only. Raises `NotFound`, `Refused`, `OperatorError`."""
    kept = artifacts.load(places, artifacts.find(places, wanted))
    return _checked(kept, branch, unverified=unverified)[0]


def promote(
    places: Paths,
    wanted: str,
    branch: str | None,
    *,
    unverified: bool,
    actor: str,
    reason: str | None,
    seen: str,
    now: Now,
) -> Decision:
    """Makes the branch, or finds that it was made from this artifact before. Raises as `draft` does, and
    `Refused` where somebody decided since ``seen``."""
    kept = artifacts.load(places, artifacts.find(places, wanted))
    with waiting_lock(kept.folder / "decision.lock"):
        artifact = artifacts.view(kept, artifacts.decisions(kept.folder), stale=False)
        if decision_stamp(artifact.decision) != seen:
            check_rejectable(artifact)
        agreed, target = _checked(kept, branch, unverified=unverified)
        if agreed.done and agreed.artifact.decision is not None:
            return agreed.artifact.decision
        if not agreed.done:
            _create_branch(kept, target, agreed.branch)
        decision = Decision(
            Promotion.PROMOTED,
            now(),
            actor,
            reason,
            agreed.branch,
            kept.manifest.commit,
        )
        artifacts.record(kept.folder, decision)
        return decision


def reject(places: Paths, wanted: str, *, actor: str, reason: str | None, now: Now) -> Decision:
    """Records that the change is not wanted. The artifact stays. Raises `NotFound`, `Refused`."""
    kept = artifacts.load(places, artifacts.find(places, wanted))
    with waiting_lock(kept.folder / "decision.lock"):
        check_rejectable(artifacts.view(kept, artifacts.decisions(kept.folder), stale=False))
        decision = Decision(Promotion.REJECTED, now(), actor, reason)
        artifacts.record(kept.folder, decision)
        return decision


def check_rejectable(artifact: Artifact) -> None:
    """Raises `Refused`."""
    if artifact.decision is None:
        return
    branch = f" to {artifact.decision.branch}" if artifact.decision.branch else ""
    raise Refused(
        f"artifact {artifact.artifact_id[:12]} was {artifact.decision.outcome}{branch} by {one_line(artifact.decision.actor, 60)}",
        fix="what is decided stays; a promoted branch is deleted with git",
        code="decided-already",
    )


def _checked(kept: KeptArtifact, branch: str | None, *, unverified: bool) -> tuple[PromotionDraft, _Target]:
    manifest = kept.manifest
    short = kept.artifact_id[:12]
    artifact = artifacts.view(kept, artifacts.decisions(kept.folder), stale=False)
    if manifest.commit is None:
        raise Refused(
            f"artifact {short} changes nothing", fix="there is nothing to promote", code="nothing-to-do"
        )
    if artifact.promotion is Promotion.REJECTED:
        check_rejectable(artifact)
    wrong = artifacts.check(kept)
    if wrong:
        raise Refused(
            f"artifact {short} is damaged: {wrong[0]}",
            fix="restore it from a copy, or replay its item",
            code="artifact-damaged",
        )
    if not unverified and (manifest.verified is not Verified.PASSED or manifest.failure is not None):
        why = "failed" if manifest.failure else manifest.verified.value
        detail = f" ({one_line(manifest.failure, 160)})" if manifest.failure else ""
        raise Refused(
            f"artifact {short} is not verified: {why}{detail}",
            fix="replay its item, or promote it with --unverified if you know better",
            code="not-verified",
        )
    repo = Path(manifest.repo)
    git_dir = git_dir_of(repo)
    target = _Target(git_dir, account_of(git_dir))
    branch = branch_for(manifest.run_id) if branch is None else branch
    _check_name(target, branch)
    _check_base(kept, target)
    there = target.commit(f"refs/heads/{branch}")
    if there is None:
        _check_nobody_is_on(target, branch)
    if there is not None and there != manifest.commit:
        raise Refused(
            f"branch {one_line(branch, 120)} exists in {one_line(str(repo))}",
            fix="give another name with --branch, or delete that branch",
            code="branch-exists",
        )
    return PromotionDraft(artifact, branch, str(repo), done=there is not None), target


def _check_name(target: _Target, branch: str) -> None:
    bad = branch.startswith(("-", "refs/")) or branch in ("HEAD", "@") or len(branch) > 200
    if not bad:
        try:
            target.git("check-ref-format", f"refs/heads/{branch}")
        except GitFailed:
            bad = True
    if bad or not re.fullmatch(r"[\w./+@-]+", branch):
        raise Refused(
            f"{one_line(branch, 120)!r} can't name a branch",
            fix="use letters, digits, . _ - and / (git-check-ref-format)",
            code="bad-branch-name",
        )


def _check_nobody_is_on(target: _Target, branch: str) -> None:
    """A checkout may stand on a branch that has no commit yet: making it would change that checkout."""
    for line in target.git("worktree", "list", "--porcelain").splitlines():
        if line == f"branch refs/heads/{branch}":
            raise Refused(
                f"a checkout stands on branch {one_line(branch, 120)}",
                fix="give another name with --branch",
                code="branch-checked-out",
            )


def _check_base(kept: KeptArtifact, target: _Target) -> None:
    manifest = kept.manifest
    name = one_line(manifest.base, 80)
    if target.commit(manifest.base_sha) is None:
        raise Refused(
            f"stale: the repository no longer has {manifest.base_sha[:12]}, on which the artifact stands",
            fix="replay its item: the agent then works on what is there now",
            code="stale-artifact",
        )
    if not manifest.base_is_branch:
        return
    at = target.commit(f"refs/heads/{manifest.base}")
    if at != manifest.base_sha:
        where = "is gone" if at is None else f"is at {at[:12]}"
        raise Refused(
            f"stale: the base moved on: {name} {where} now, the artifact stands on {manifest.base_sha[:12]}",
            fix="replay its item: the agent then works on what is there now",
            code="stale-artifact",
        )


def _create_branch(kept: KeptArtifact, target: _Target, branch: str) -> None:
    """Raises `Refused`, `GitFailed`."""
    manifest = kept.manifest
    commit = manifest.commit or ""
    with open_pack(kept.path(BUNDLE)) as pack:
        run_git(
            ["index-pack", "--stdin", "--strict", "--fix-thin"],
            git_dir=target.git_dir,
            account=target.account,
            given=pack,
        )
    told = target.git("show", "--no-patch", "--no-show-signature", "--format=%T %P", commit)
    if told != f"{manifest.tree_sha} {manifest.base_sha}":
        raise Refused(
            f"artifact {kept.artifact_id[:12]} does not hold the commit that it names",
            fix="replay its item",
            code="artifact-damaged",
        )
    # The base was looked at just before. It is not part of the transaction: naming the branch that HEAD is
    # on there would write a line to HEAD's log, and HEAD is somebody's.
    _check_nobody_is_on(target, branch)
    try:
        target.git("update-ref", "--no-deref", f"refs/heads/{branch}", commit, "0" * len(commit))
    except GitFailed as error:
        raise _why_not(kept, target, branch, error) from None


def _why_not(kept: KeptArtifact, target: _Target, branch: str, error: GitFailed) -> OperatorError:
    try:
        _check_base(kept, target)
    except Refused as stale:
        return stale
    return Refused(
        f"branch {one_line(branch, 120)} can't be made: {error.message}",
        fix="give another name with --branch",
        code="branch-refused",
    )
