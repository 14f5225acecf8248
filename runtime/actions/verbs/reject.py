"""Recording that an artifact's change is not wanted; it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.actions.command import Command, Targets
from runtime.actions.draft import Draft, bounded_lines
from runtime.actions.keys import Asks, Key, Question
from runtime.actions.subjects.artifacts import (
    ArtifactVerb,
    artifact_reader,
    bounded_targets,
    change_of,
    in_time,
    many_artifacts,
    short,
)
from runtime.common.units import length
from runtime.model import Artifact, NotFound, OperatorError, Refused, SandboxControl

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.write_port import WritePort
    from runtime.model import SandboxReader


_WHY = Question(
    Asks.REASON,
    "Why is {targets} rejected?",
    "Why are {targets} rejected?",
    hint="it stays with the artifact and in the audit trail",
    placeholder="a reason",
)


class RejectVerb(ArtifactVerb):
    name = "reject"
    word = "reject"
    destructive = True
    command = Command(
        "artifacts",
        "reject",
        20,
        "record that the change is not wanted; it is kept",
        examples=("reject ARTIFACT --reason 'wrong file' --yes",),
        targets=Targets("ARTIFACT"),
    )
    keys = (
        Key(
            "artifacts",
            "reject",
            "x",
            "reject",
            "Reject the artifact, or the marked ones, with a reason",
            rank=11,
            place=1,
            question=_WHY,
            offered=lambda artifact: artifact.undecided,
        ),
        Key(
            "artifact",
            "reject",
            "x",
            "reject",
            "Reject the artifact, with a reason",
            rank=11,
            place=1,
            question=_WHY,
        ),
    )

    async def preview(self, intent: Intent, port: ReadPort) -> Draft:
        fit, left = await _undecided(intent, artifact_reader(port))
        if not fit:
            raise left[0]
        shown, now = fit[: port.most(intent)], port.now()
        ids = tuple(artifact.artifact_id for artifact in shown)
        lines = [
            f"{short(artifact)} of {artifact.family}: {change_of(artifact)}, verified {artifact.verified}, "
            f"made {length(now - artifact.created_at)} ago"
            for artifact in shown
        ]
        return Draft(
            ids=ids,
            matching=len(fit),
            title=f"Reject {many_artifacts(ids)}",
            lines=bounded_lines(lines + [f"left alone: {error.message}" for error in left]),
            warnings=("a rejected artifact is kept, and can't be promoted any more",),
            target=f"the artifacts of lane {port.lane.current.name} on this host",
        )

    async def one(self, control: SandboxControl, preview: Preview, place: int, port: WritePort) -> str:
        await in_time(control.reject(preview.ids[place], actor=port.actor, reason=port.reason))
        return "rejected; it is kept"


async def _undecided(intent: Intent, reader: SandboxReader) -> tuple[list[Artifact], list[OperatorError]]:
    """Those that nobody has decided about, each once, and why the others are left alone."""
    fit: list[Artifact] = []
    left: list[OperatorError] = []
    for target in bounded_targets(intent):
        try:
            artifact = await in_time(reader.artifact(target))
            if artifact.decision is not None:
                raise Refused(
                    f"artifact {short(artifact)} was {artifact.promotion} already",
                    fix="what is decided stays; a promoted branch is deleted with git",
                    code="decided-already",
                )
        except (NotFound, Refused) as error:
            left.append(error)
            continue
        if all(known.artifact_id != artifact.artifact_id for known in fit):
            fit.append(artifact)
    return fit, left


VERB = RejectVerb()
