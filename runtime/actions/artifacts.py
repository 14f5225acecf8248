"""Actions on artifacts: what promoting or rejecting them would do, looked at only, and how it is carried out."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.intents import ActionName, Intent, Preview
from runtime.actions.tally import Tally
from runtime.common.deadline import within
from runtime.common.text import one_line
from runtime.common.units import count, length
from runtime.lane.lane_file import LaneSource
from runtime.model import (
    Artifact,
    NotFound,
    Now,
    OperatorError,
    Promotion,
    PromotionDraft,
    ReceiptOutcome,
    Refused,
    SandboxControl,
    SandboxReader,
    UsageError,
    Verified,
    decision_stamp,
)

DEADLINE_S = 60.0
"""For one artifact: its files are hashed, and Git writes its objects."""
SHORT = 12
MOST = 100
"""Artifacts of one action: each costs a look at its repository."""

T = TypeVar("T")


class ArtifactDrafter:
    def __init__(self, reader: SandboxReader | None, lane: LaneSource, now: Now) -> None:
        self._reader = reader
        self._lane = lane
        self._now = now

    async def promote(self, intent: Intent, most: int) -> Draft:
        """Raises `NotFound`, `Refused` (nothing of it can be promoted), `UsageError`."""
        if intent.branch is not None and len(intent.targets) > 1:
            raise UsageError(
                f"one branch can't hold {len(intent.targets)} artifacts",
                fix="name one artifact, or no branch",
            )
        reader = self._there()
        fit: list[PromotionDraft] = []
        left: list[OperatorError] = []
        for target in _bounded_targets(intent):
            try:
                agreed = await _in_time(
                    reader.draft_promotion(target, intent.branch, unverified=intent.unverified)
                )
                if agreed.done and agreed.artifact.promotion is Promotion.PROMOTED:
                    raise Refused(
                        f"artifact {agreed.artifact.artifact_id[:SHORT]} is promoted already, to {agreed.branch}",
                        code="nothing-to-do",
                    )
            except (NotFound, Refused) as error:
                left.append(error)
                continue
            if all(known.artifact.artifact_id != agreed.artifact.artifact_id for known in fit):
                fit.append(agreed)
        if not fit:
            raise left[0]
        ids = tuple(draft.artifact.artifact_id for draft in fit[:most])
        lines = [_promotion_line(draft) for draft in fit[:most]]
        warnings = [
            f"{draft.artifact.artifact_id[:SHORT]} is not verified ({draft.artifact.failure or draft.artifact.verified})"
            for draft in fit[:most]
            if draft.artifact.verified is not Verified.PASSED or draft.artifact.failure is not None
        ]
        warnings += [
            f"{draft.artifact.artifact_id[:SHORT]} leaves out {count(len(draft.artifact.left_out), 'file')} of the agent's tree"
            for draft in fit[:most]
            if draft.artifact.left_out
        ]
        repos = sorted({draft.repo for draft in fit[:most]})
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"Promote {_many(ids)}",
            lines=bounded_lines(lines + [f"left alone: {error.message}" for error in left]),
            warnings=bounded_lines(warnings),
            target=f"{', '.join(repos)}; no checkout, index or HEAD is touched",
            expected=tuple(decision_stamp(draft.artifact.decision) for draft in fit[:most]),
        )

    async def reject(self, intent: Intent, most: int) -> Draft:
        """Raises `NotFound`, `Refused`."""
        reader = self._there()
        fit: list[Artifact] = []
        left: list[OperatorError] = []
        for target in _bounded_targets(intent):
            try:
                artifact = await _in_time(reader.artifact(target))
                if artifact.decision is not None:
                    raise Refused(
                        f"artifact {artifact.artifact_id[:SHORT]} was {artifact.promotion} already",
                        fix="what is decided stays; a promoted branch is deleted with git",
                        code="decided-already",
                    )
            except (NotFound, Refused) as error:
                left.append(error)
                continue
            if all(known.artifact_id != artifact.artifact_id for known in fit):
                fit.append(artifact)
        if not fit:
            raise left[0]
        ids = tuple(artifact.artifact_id for artifact in fit[:most])
        lines = [
            f"{artifact.artifact_id[:SHORT]} of {artifact.family}: {_change(artifact)}, verified {artifact.verified}, "
            f"made {length(self._now() - artifact.created_at)} ago"
            for artifact in fit[:most]
        ]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"Reject {_many(ids)}",
            lines=bounded_lines(lines + [f"left alone: {error.message}" for error in left]),
            warnings=("a rejected artifact is kept, and can't be promoted any more",),
            target=f"the artifacts of lane {self._lane.current.name} on this host",
            destructive=True,
        )

    def _there(self) -> SandboxReader:
        if self._reader is None:
            raise NotFound("this profile has no sandbox", fix='declare a family with handler = "sandbox"')
        return self._reader


class ArtifactExecutor:
    def __init__(self, control: SandboxControl | None) -> None:
        self._control = control

    async def carry_out(self, preview: Preview, tally: Tally, *, actor: str) -> None:
        """Puts a result for each id. One that fails does not stop the others."""
        for place, artifact_id in enumerate(preview.ids):
            try:
                tally.put(artifact_id, ReceiptOutcome.DONE, await self._one(preview, place, actor))
            except Refused as error:
                tally.put(artifact_id, ReceiptOutcome.REFUSED, error.message)
            except OperatorError as error:
                tally.put(artifact_id, ReceiptOutcome.FAILED, error.message)
            except BaseException:
                tally.put(artifact_id, ReceiptOutcome.FAILED, "interrupted; it may have been done")
                raise

    async def _one(self, preview: Preview, place: int, actor: str) -> str:
        control = self._control
        if control is None:
            raise NotFound("this profile has no sandbox")
        intent, artifact_id = preview.intent, preview.ids[place]
        if intent.action is ActionName.REJECT:
            await _in_time(control.reject(artifact_id, actor=actor, reason=intent.reason))
            return "rejected; it is kept"
        made = await _in_time(
            control.promote(
                artifact_id,
                intent.branch,
                unverified=intent.unverified,
                actor=actor,
                reason=intent.reason,
                seen=preview.expected[place],
            )
        )
        return f"branch {made.branch} is at {(made.commit or '')[:SHORT]}"


def _bounded_targets(intent: Intent) -> Sequence[str]:
    targets = list(dict.fromkeys(intent.targets))
    if len(targets) > MOST:
        raise UsageError(f"{len(targets):,} artifacts are more than {MOST}", fix="name fewer")
    return targets


async def _in_time(look: Coroutine[Any, Any, T]) -> T:
    """A thread that is given up goes on by itself: a promotion may still be made."""
    return await within(DEADLINE_S, look, boundary="the sandbox", address="this host")


def _promotion_line(draft: PromotionDraft) -> str:
    artifact = draft.artifact
    again = " (it is there already)" if draft.done else ""
    return (
        f"{artifact.artifact_id[:SHORT]} of {artifact.family}: {_change(artifact)}, verified {artifact.verified}; "
        f"new branch {one_line(draft.branch, 120)}{again} on {artifact.base} at {artifact.base_sha[:SHORT]} in {draft.repo}"
    )


def _change(artifact: Artifact) -> str:
    return f"{count(artifact.files, 'file')}, +{artifact.insertions:,} -{artifact.deletions:,}"


def _many(ids: Sequence[str]) -> str:
    return f"artifact {ids[0][:SHORT]}" if len(ids) == 1 else count(len(ids), "artifact")
