"""Next actions: commands that really exist, ready to be pasted into a shell.

The only place that knows how the command line spells what a finding or an error proposes.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.common.command_prefix import CommandPrefix
from runtime.common.text import one_line
from runtime.model import RunStatus
from runtime.truth.document import NextAction


class Commands:
    """The command line's words for one profile and lane file."""

    def __init__(self, call: CommandPrefix, *, local_stack: bool) -> None:
        self._call = call
        self.local_stack = local_stack
        """True when `up` can start what is missing."""

    def start_stack(self) -> list[NextAction]:
        """Empty where the servers are not ours to start."""
        return [self._say("start the local stack", "up")] if self.local_stack else []

    def restart_stack(self) -> list[NextAction]:
        """For what runs and does not react: `up` alone would find it running. Empty where it is not ours."""
        if not self.local_stack:
            return []
        return [
            self._say("end what hangs; nothing is lost", "down"),
            self._say("then start the local stack again", "up"),
        ]

    def doctor(self) -> NextAction:
        return self._say("check the servers and this machine", "doctor")

    def start_role(self, role: str) -> list[NextAction]:
        return self.start_stack() or [self._say(f"run a {role} here", "serve", role)]

    def logs(self, role: str) -> NextAction:
        return self._say(f"read what the {role} said last", "logs", role)

    def check_lane(self) -> NextAction:
        return self._say("check the lane file", "families", "check")

    def list_items(self, family: str, state: str) -> NextAction:
        return self._say(f"see which items are {state}", "queue", "list", family, "--state", state)

    def replay_family(self, family: str) -> NextAction:
        return self._say("run its dead items again", "queue", "replay", family)

    def replay_failed(self, family: str, error: str) -> NextAction:
        """Only what failed with ``error``, cut to what a shell line bears."""
        part = one_line(error, 60).rstrip("…")
        return self._say("then run what failed so again", "queue", "replay", family, "--error", part)

    def show_item(self, item_id: str) -> NextAction:
        return self._say("see its payload and failures", "queue", "show", item_id)

    def release_lane(self) -> NextAction:
        return self._say("let the lane go on", "queue", "release")

    def pause(self, family: str) -> NextAction:
        return self._say("hold the rest while you look", "queue", "pause", family)

    def resume(self, family: str) -> NextAction:
        return self._say("lift the pause", "queue", "resume", family)

    def restore(self, family: str) -> NextAction:
        return self._say("once it is declared: give its backlog back", "queue", "restore", family)

    def look_at_run(self, run_id: str) -> NextAction:
        return self._say("see what it does", "runs", "show", run_id)

    def cancel_run(self, run_id: str) -> NextAction:
        return self._say("end it in good order, when it should not go on", "runs", "cancel", run_id)

    def list_runs(self, status: RunStatus | None = None) -> NextAction:
        if status is None:
            return self._say("see the runs", "runs", "list")
        return self._say(f"see the {status} runs", "runs", "list", "--status", status)

    def show_run(self, run_id: str) -> NextAction:
        return self._say("see its failure", "runs", "show", run_id)

    def resume_runs(self, run_ids: Sequence[str]) -> NextAction:
        return self._say("let them try again now", "runs", "resume", *run_ids)

    def schedule(self, verb: str, name: str | None = None) -> NextAction:
        described = {
            "history": "see its fires",
            "diff": "see what differs",
            "apply": "make the clock what the lane file says",
            "enable": "let it fire again",
        }
        return self._say(described[verb], "schedule", verb, *(() if name is None else (name,)))

    def artifacts(self, verb: str, *words: str) -> NextAction:
        described = {"list": "see the artifacts", "show": "look at it", "verify": "check its files"}
        return self._say(described[verb], "artifacts", verb, *words)

    def _say(self, description: str, *words: str) -> NextAction:
        command = self._call.command(*(one_line(word, 200) for word in words))
        return NextAction(command=command, description=description)
