"""``up``, ``down``, ``doctor``, ``logs``: the local stack from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from joelclaw_tui.cli.calling import as_called
from joelclaw_tui.cli.documents import instant
from joelclaw_tui.cli.output import Answer, NextStep, StdoutClosed
from joelclaw_tui.cli.parser import PROGRAM
from joelclaw_tui.cli.session import Session
from joelclaw_tui.presentation.marks import CHECK
from joelclaw_tui.presentation.text_layout import (
    Line,
    Span,
    TextColumn,
    TextRow,
    line,
    paragraph,
    safe,
    table,
)
from joelclaw_tui.presentation.tones import Tone
from runtime.model import ExitCode, OperatorError

if TYPE_CHECKING:
    from runtime.stack.doctor import Check
    from runtime.stack.local import StackState
    from runtime.stack.supervise import ProgramState


def up(session: Session) -> ExitCode:
    """Progress goes to stderr; stdout gets what runs."""
    from runtime.roles.fitness import clock_checks
    from runtime.roles.local import local_stack
    from runtime.stack.endpoints import StackPaths, peek_targets

    state = asyncio.run(local_stack(session.settings).up(session.out.note))
    # A Dkron of one's own is not started here, and the clock role runs beside one that is down too.
    dkrons = asyncio.run(clock_checks(session.settings))
    targets = peek_targets(session.settings)
    gateway = f"http://{targets.gateway_bind}" if targets.gateway_bind is not None else None
    endpoints = {
        "redis": targets.redis_url,
        "restate_ingress": targets.restate_ingress_url,
        "restate_admin": targets.restate_admin_url,
        "gateway": gateway,
    }
    lines = [
        *_state_lines(state, session.out.width),
        *(shown for check in dkrons for shown in _check_lines(check, session.out.width)),
        line(
            "  ",
            Span(
                f"gateway {gateway}, its token is in {StackPaths.of(session.settings).endpoints}",
                Tone.DIM,
            ),
        ),
    ]
    return session.out.answer(
        Answer(
            lines,
            {**_state_document(state), "endpoints": endpoints, "dkron": [_check_document(c) for c in dkrons]},
            ExitCode.OK
            if state.healthy and all(check.status == "ok" for check in dkrons)
            else ExitCode.ATTENTION,
            _not_at_work(state),
            next_steps=(
                NextStep(PROGRAM, "open the console"),
                NextStep(f"{PROGRAM} config show gateway", "the gateway's address, and where its token is"),
                NextStep(f"{PROGRAM} down", "stop the stack; nothing is lost"),
            ),
        )
    )


def down(session: Session) -> ExitCode:
    """Agents in their sandboxes go on, by their design: those are named."""
    from runtime.roles.local import agents_at_work
    from runtime.stack.local import LocalStack

    stopped = asyncio.run(LocalStack(session.settings).down(session.out.note))
    agents = asyncio.run(agents_at_work(session.settings))
    word = "the local stack is down; its data stays" if stopped else "no local stack was running"
    lines = [line(word)]
    for run_id in agents:
        told = f"an agent still works in its sandbox and reports at the next `up`: run {run_id}"
        lines += paragraph(told, session.out.width, first=(), rest="  ")
    steps = (
        (NextStep("joelclaw-tui up", "and then `runs cancel RUN` ends an agent before its time"),)
        if agents
        else ()
    )
    return session.out.answer(Answer(lines, {"stopped": stopped, "agents": list(agents)}, next_steps=steps))


def doctor(session: Session) -> ExitCode:
    """Exit 1 when a check warns or fails."""
    from runtime.roles.fitness import clock_checks, server_checks
    from runtime.stack.doctor import doctor as examine

    async def all_checks() -> list[Check]:
        settings = session.settings
        return [*await examine(settings), *await server_checks(settings), *await clock_checks(settings)]

    checks = asyncio.run(all_checks())
    fine = all(check.status == "ok" for check in checks)
    failed = [check for check in checks if check.status == "fail"]
    error = OperatorError(f"{len(failed)} of {len(checks)} checks failed", code="unfit") if failed else None
    result = {"checks": [_check_document(check) for check in checks]}
    lines = [shown for check in checks for shown in _check_lines(check, session.out.width)]
    return session.out.answer(Answer(lines, result, ExitCode.OK if fine else ExitCode.ATTENTION, error))


def logs(session: Session) -> ExitCode:
    """Lines of a log as they are; with ``--json`` in one envelope, which ends and can't follow."""
    from runtime.model import UsageError
    from runtime.stack.local import LocalStack

    arguments = session.arguments
    if arguments.follow and session.out.as_json:
        raise UsageError("--follow never ends, and --json is one document", fix="leave one of them out")
    stack = LocalStack(session.settings)

    async def collect() -> list[str]:
        return [text async for text in stack.logs(arguments.role, lines=arguments.lines)]

    async def follow() -> None:
        async for text in stack.logs(arguments.role, follow=True, lines=arguments.lines):
            session.out.data(text)

    if arguments.follow:
        with suppress(StdoutClosed):
            asyncio.run(follow())
        return ExitCode.OK
    texts = asyncio.run(collect())
    return session.out.answer(
        Answer([line(text) for text in texts], {"role": arguments.role, "lines": texts})
    )


COMMANDS: dict[str, Callable[[Session], ExitCode]] = {"up": up, "down": down, "doctor": doctor, "logs": logs}


def _not_at_work(state: StackState) -> OperatorError | None:
    """What `up` waited for in vain."""
    if not state.missing:
        return None
    from runtime.stack.logs import LOG_NAMES

    said = "; ".join(f"{part}: {why}" for part, why in state.missing.items())
    role = next((part for part in state.missing if part in LOG_NAMES), None)
    logs = f"see `{PROGRAM} logs {role}`; " if role is not None else ""
    return OperatorError(
        f"the stack was started and is not at work yet: {said}",
        fix=f"{logs}what is missing is tried again all the time, and `{PROGRAM} up` waits for it again",
        code="not-at-work",
    )


def _state_lines(state: StackState, width: int) -> list[Line]:
    columns = [
        TextColumn("PART"),
        TextColumn("STATE"),
        TextColumn("PID", right=True),
        TextColumn("DETAIL", least=10, spare=1),
    ]
    rows = [
        TextRow(
            (
                program.name,
                _status(program, state),
                "-" if program.pid is None else str(program.pid),
                Span(safe(state.missing.get(program.name, program.detail), 200), Tone.DIM),
            )
        )
        for program in state.programs
    ]
    return table(columns, rows, width, indent="")


def _status(program: ProgramState, state: StackState) -> Span:
    """A process that runs is not yet one that works."""
    if program.status != "running":
        return Span(program.status.value, Tone.WARN)
    return Span("waits", Tone.WARN) if program.name in state.missing else Span("running", Tone.OK)


def _state_document(state: StackState) -> dict[str, Any]:
    return {
        "running": state.running,
        "healthy": state.healthy,
        "missing": dict(state.missing),
        "lane_file": None if state.lane_path is None else str(state.lane_path),
        "programs": [
            {
                "name": program.name,
                "status": program.status.value,
                "pid": program.pid,
                "started_at": instant(program.started_at),
                "detail": program.detail,
            }
            for program in state.programs
        ],
    }


def _check_document(check: Check) -> dict[str, str | None]:
    return {
        "name": check.name,
        "status": str(check.status),
        "message": as_called(check.message, sentence=True),
        "fix": None if check.fix is None else as_called(check.fix),
    }


def _check_lines(check: Check, width: int) -> list[Line]:
    mark = Span(f"{CHECK[str(check.status)].word:<6}", CHECK[str(check.status)].tone)
    lines = paragraph(
        f"{safe(check.name, 60)}: {as_called(safe(check.message, 500), sentence=True)}",
        width,
        first=(mark,),
        rest="      ",
    )
    if check.fix and check.status != "ok":
        lines += paragraph(
            as_called(safe(check.fix, 500)),
            width,
            first=line(Span("      fix: ", Tone.DIM)),
            rest="           ",
        )
    return lines
