"""``artifacts``: what sandboxes exported; look at it, check it, promote or reject it, take it elsewhere."""

from __future__ import annotations

import os
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from joelclaw_tui.cli.boundary import boundary_answer
from joelclaw_tui.cli.documents import artifact_document
from joelclaw_tui.cli.output import Answer, NextStep
from joelclaw_tui.cli.sandbox_text import artifact_lines, is_passed, patch_lines
from joelclaw_tui.cli.session import Session, with_operator
from joelclaw_tui.cli.snapshot_text import Pane
from joelclaw_tui.presentation.columns import SHORT
from joelclaw_tui.presentation.text_layout import INDENT, Span, line, safe
from joelclaw_tui.presentation.tones import Tone
from runtime.common.export_path import not_written, taken
from runtime.model import Artifact, ExitCode, OperatorError, Promotion

if TYPE_CHECKING:
    from runtime.roles.operator import Operator

PATCH = "patch.diff"
PATCH_MAX = 64 * 2**20
MANIFEST = "manifest.json"
EXPORT_MAX = 2**30


def list_(session: Session) -> ExitCode:
    return session.out.answer(boundary_answer(session, Pane.SANDBOX))


def show(session: Session) -> ExitCode:
    artifact = _artifact(session)
    short = artifact.artifact_id[:SHORT]
    steps = [NextStep(f"joelclaw-tui artifacts diff {short}", "see the change")] if artifact.files else []
    if artifact.promotion is Promotion.NONE and artifact.files and is_passed(artifact):
        steps.append(NextStep(f"joelclaw-tui artifacts promote {short}", "make a branch of it"))
    return session.out.answer(
        Answer(
            artifact_lines(artifact, time.time(), session.out.width),
            artifact_document(artifact),
            next_steps=tuple(steps),
        )
    )


def diff(session: Session) -> ExitCode:
    """To a terminal cleaned and bounded; to a program or a file the patch itself, so that Git can apply it."""
    out = session.out
    exactly = not out.as_json and not out.is_terminal
    most = EXPORT_MAX if exactly else PATCH_MAX

    async def work(operator: Operator) -> tuple[Artifact, bytes]:
        artifact = await operator.reader.artifacts.artifact(session.arguments.artifact)
        if PATCH not in artifact.names:
            return artifact, b""
        return artifact, await operator.reader.artifacts.file(artifact.artifact_id, PATCH, most + 1)

    artifact, data = with_operator(session.settings, work)
    truncated = len(data) > most
    if exactly:
        if truncated:  # half of a patch may apply, and would be another change
            raise OperatorError(
                f"the patch has more than {EXPORT_MAX:,} bytes",
                fix="fetch the change from the artifact's change.bundle",
                code="too-large",
            )
        if data:
            out.exactly(data)
        else:
            out.note("it changes nothing")
        return ExitCode.OK
    if truncated:
        data = data[: data.rfind(b"\n", 0, most) + 1]
    text = data.decode("utf-8", "replace")
    lines = patch_lines(text) if text else [line(INDENT, Span("it changes nothing", Tone.DIM))]
    if truncated:
        lines.append(line(INDENT, Span("and more; take all of it with `artifacts export`", Tone.WARN)))
    return out.answer(
        Answer(lines, {"artifact_id": artifact.artifact_id, **patch_document(data, truncated=truncated)})
    )


def patch_document(data: bytes, *, truncated: bool) -> dict[str, object]:
    """The patch as text where it is UTF-8; else in base64, since any text of it would be another patch."""
    try:
        return {"patch": data.decode(), "encoding": "utf-8", "truncated": truncated}
    except UnicodeDecodeError:
        return {"patch": b64encode(data).decode("ascii"), "encoding": "base64", "truncated": truncated}


def verify(session: Session) -> ExitCode:
    """Checks the files against the manifest. Whether the change is right is what its run verified."""

    async def work(operator: Operator) -> tuple[Artifact, Sequence[str]]:
        artifact = await operator.reader.artifacts.artifact(session.arguments.artifact)
        return artifact, await operator.reader.artifacts.check(artifact.artifact_id)

    artifact, wrong = with_operator(session.settings, work)
    short = artifact.artifact_id[:SHORT]
    result = {"artifact_id": artifact.artifact_id, "files": list(artifact.names), "wrong": list(wrong)}
    if not wrong:
        word = Span(f"all {len(artifact.names)} files are what the manifest says", Tone.OK)
        return session.out.answer(Answer([line(Span(short, Tone.STRONG), "  ", word)], result))
    error = OperatorError(
        f"artifact {short} is damaged",
        fix="restore it from a copy, or replay its item",
        code="artifact-damaged",
    )
    lines = [line(INDENT, Span(safe(what), Tone.CRIT)) for what in wrong]
    return session.out.answer(Answer(lines, result, ExitCode.ATTENTION, error))


def export(session: Session) -> ExitCode:
    """Copies all its files, the manifest among them, into a new folder."""
    target = Path(session.arguments.folder).absolute()

    async def work(operator: Operator) -> tuple[Artifact, dict[str, bytes]]:
        reader = operator.reader.artifacts
        artifact = await reader.artifact(session.arguments.artifact)
        wrong = await reader.check(artifact.artifact_id)
        if wrong:
            raise OperatorError(
                f"artifact {artifact.artifact_id[:SHORT]} is damaged: {wrong[0]}",
                fix="restore it from a copy, or replay its item",
                code="artifact-damaged",
            )
        names = (*artifact.names, MANIFEST)
        return artifact, {name: await reader.file(artifact.artifact_id, name, EXPORT_MAX) for name in names}

    artifact, files = with_operator(session.settings, work)
    try:
        target.mkdir(parents=True)
        try:
            for name, data in files.items():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with os.fdopen(os.open(target / name, flags, 0o644), "wb") as file:
                    file.write(data)
        except BaseException:  # half of an artifact is none
            shutil.rmtree(target, ignore_errors=True)
            raise
    except FileExistsError:
        raise taken(target) from None
    except OSError as error:
        raise not_written(target, error) from None
    shown = safe(str(target), 500)
    return session.out.answer(
        Answer(
            [line(Span(artifact.artifact_id[:SHORT], Tone.STRONG), f"  {len(files)} files in {shown}")],
            {"artifact_id": artifact.artifact_id, "folder": str(target), "files": sorted(files)},
        )
    )


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {
    "list": list_,
    "show": show,
    "diff": diff,
    "verify": verify,
    "export": export,
}


def _artifact(session: Session) -> Artifact:
    async def work(operator: Operator) -> Artifact:
        return await operator.reader.artifacts.artifact(session.arguments.artifact)

    return with_operator(session.settings, work)
