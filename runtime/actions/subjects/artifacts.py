"""What promoting and rejecting artifacts have in common: which are meant, and one result an artifact."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.actions.verb import DirectVerb, Subject
from runtime.common.units import count
from runtime.model import (
    Artifact,
    NotFound,
    OperatorError,
    ReceiptOutcome,
    Refused,
    SandboxControl,
    UsageError,
)

if TYPE_CHECKING:
    from runtime.actions.intents import Intent, Preview
    from runtime.actions.read_port import ReadPort
    from runtime.actions.tally import Tally
    from runtime.actions.write_port import WritePort
    from runtime.model import SandboxReader

DEADLINE_S = 60.0
"""For one artifact: its files are hashed, and Git writes its objects."""
SHORT = 12
MOST = 100
"""Artifacts of one action: each costs a look at its repository."""

T = TypeVar("T")


class ArtifactVerb(DirectVerb):
    """Carried out one artifact after the other."""

    subject = Subject.ARTIFACT

    @abstractmethod
    async def one(self, control: SandboxControl, preview: Preview, place: int, port: WritePort) -> str:
        """Does it to the artifact at ``place`` of the preview, and says what became of it."""

    async def carry_out(self, preview: Preview, tally: Tally, port: WritePort) -> None:
        for place, artifact_id in enumerate(preview.ids):
            try:
                if port.sandbox is None:
                    raise NotFound("this profile has no sandbox")
                said = await self.one(port.sandbox, preview, place, port)
                tally.put(artifact_id, ReceiptOutcome.DONE, said)
            except Refused as error:
                tally.put(artifact_id, ReceiptOutcome.REFUSED, error.message)
            except OperatorError as error:
                tally.put(artifact_id, ReceiptOutcome.FAILED, error.message)
            except BaseException:
                tally.put(artifact_id, ReceiptOutcome.FAILED, "interrupted; it may have been done")
                raise


def artifact_reader(port: ReadPort) -> SandboxReader:
    """Raises `NotFound`: this profile has no sandbox."""
    if port.artifacts is None:
        raise NotFound("this profile has no sandbox", fix='declare a family with handler = "sandbox"')
    return port.artifacts


def bounded_targets(intent: Intent) -> Sequence[str]:
    """Each once. Raises `UsageError`."""
    targets = list(dict.fromkeys(intent.targets))
    if len(targets) > MOST:
        raise UsageError(f"{len(targets):,} artifacts are more than {MOST}", fix="name fewer")
    return targets


async def in_time(call: Coroutine[Any, Any, T]) -> T:
    """A thread that is given up goes on by itself: a promotion may still be made. Raises `BoundaryDown`."""
    from runtime.common.deadline import within  # late: the command line's grammar is made without it

    return await within(DEADLINE_S, call, boundary="the sandbox", address="this host")


def short(artifact: Artifact) -> str:
    return artifact.artifact_id[:SHORT]


def change_of(artifact: Artifact) -> str:
    return f"{count(artifact.files, 'file')}, +{artifact.insertions:,} -{artifact.deletions:,}"


def many_artifacts(ids: Sequence[str]) -> str:
    return f"artifact {ids[0][:SHORT]}" if len(ids) == 1 else count(len(ids), "artifact")
