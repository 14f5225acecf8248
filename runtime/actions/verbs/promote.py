"""Bringing an artifact's change to its repository as a new branch; no checkout, index or HEAD is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.actions.command import Command, Option, Targets, Value
from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.keys import Key
from runtime.actions.subjects.artifacts import (
    SHORT,
    ArtifactVerb,
    artifact_reader,
    bounded_targets,
    change_of,
    in_time,
    many_artifacts,
    short,
)
from runtime.actions.terms import Terms, terms_of
from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import (
    NotFound,
    OperatorError,
    Promotion,
    PromotionDraft,
    Refused,
    SandboxControl,
    UsageError,
    Verified,
    decision_stamp,
)

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.write_port import WritePort
    from runtime.model import SandboxReader


@dataclass(frozen=True, slots=True)
class PromoteTerms(Terms):
    branch: str | None = None
    """The new branch's name. Unset: ``joelclaw/`` and the short run id."""
    unverified: bool = False
    """Also what no verification has passed."""


class PromoteVerb(ArtifactVerb):
    name = "promote"
    word = "promote"
    takes = PromoteTerms
    command = Command(
        "artifacts",
        "promote",
        10,
        "make a new branch of the change; no checkout, index or HEAD is touched",
        examples=(
            "promote ARTIFACT",
            "promote ARTIFACT --branch fix/answer --reason 'looks good'",
        ),
        targets=Targets("ARTIFACT"),
        options=(
            Option("--branch", "branch", Value.TEXT, "default joelclaw/ and the short run id", "NAME"),
            Option("--unverified", "unverified", Value.FLAG, "also what no verification has passed"),
        ),
    )
    keys = (
        Key(
            "artifacts",
            "promote",
            "m",
            "promote",
            "Bring the artifact's change, or those of the marked ones, to the repository, as a branch",
            rank=10,
            place=0,
            offered=lambda artifact: artifact.undecided,
        ),
        Key(
            "artifact",
            "promote",
            "m",
            "promote",
            "Bring the artifact's change to its repository, as a branch",
            rank=10,
            place=0,
        ),
    )

    def terms(self, given: Mapping[str, Any], *, now: float) -> PromoteTerms:
        return PromoteTerms(given["branch"], given["unverified"])

    def check(self, intent: Intent, *, now: float, ceiling: int) -> None:
        super().check(intent, now=now, ceiling=ceiling)
        if terms_of(intent, PromoteTerms).branch is not None and len(intent.targets) > 1:
            raise UsageError(
                f"one branch can't hold {len(intent.targets)} artifacts",
                fix="name one artifact, or no branch",
            )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        fit, left = await _agreed(intent, artifact_reader(port))
        if not fit:
            raise left[0]
        shown = fit[: port.most(intent)]
        ids = tuple(draft.artifact.artifact_id for draft in shown)
        lines = [_line(draft) for draft in shown] + [f"left alone: {error.message}" for error in left]
        repos = sorted({draft.repo for draft in shown})
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"Promote {many_artifacts(ids)}",
            lines=bounded_lines(lines),
            warnings=bounded_lines(_warnings(shown)),
            target=f"{', '.join(repos)}; no checkout, index or HEAD is touched",
            expected=tuple(decision_stamp(draft.artifact.decision) for draft in shown),
        )

    async def one(self, control: SandboxControl, preview: Preview, place: int, port: WritePort) -> str:
        terms = terms_of(preview.intent, PromoteTerms)
        made = await in_time(
            control.promote(
                preview.ids[place],
                terms.branch,
                unverified=terms.unverified,
                actor=port.actor,
                reason=port.reason,
                seen=preview.expected[place],
            )
        )
        return f"branch {made.branch} is at {(made.commit or '')[:SHORT]}"


async def _agreed(intent: Intent, reader: SandboxReader) -> tuple[list[PromotionDraft], list[OperatorError]]:
    """Those that can be promoted, each once, and why the others can't."""
    terms = terms_of(intent, PromoteTerms)
    fit: list[PromotionDraft] = []
    left: list[OperatorError] = []
    for target in bounded_targets(intent):
        try:
            agreed = await in_time(reader.draft_promotion(target, terms.branch, unverified=terms.unverified))
            if agreed.done and agreed.artifact.promotion is Promotion.PROMOTED:
                raise Refused(
                    f"artifact {short(agreed.artifact)} is promoted already, to {agreed.branch}",
                    code="nothing-to-do",
                )
        except (NotFound, Refused) as error:
            left.append(error)
            continue
        if all(known.artifact.artifact_id != agreed.artifact.artifact_id for known in fit):
            fit.append(agreed)
    return fit, left


def _warnings(shown: Sequence[PromotionDraft]) -> list[str]:
    artifacts = [draft.artifact for draft in shown]
    unverified = [
        f"{short(artifact)} is not verified ({artifact.failure or artifact.verified})"
        for artifact in artifacts
        if artifact.verified is not Verified.PASSED or artifact.failure is not None
    ]
    return unverified + [
        f"{short(artifact)} leaves out {count(len(artifact.left_out), 'file')} of the agent's tree"
        for artifact in artifacts
        if artifact.left_out
    ]


def _line(draft: PromotionDraft) -> str:
    artifact = draft.artifact
    again = " (it is there already)" if draft.done else ""
    return (
        f"{short(artifact)} of {artifact.family}: {change_of(artifact)}, verified {artifact.verified}; "
        f"new branch {one_line(draft.branch, 120)}{again} on {artifact.base} at {artifact.base_sha[:SHORT]} in {draft.repo}"
    )


VERB = PromoteVerb()
