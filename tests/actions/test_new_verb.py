"""A verb is one file: nothing else has to be touched for it to be found, said, bound, previewed and carried out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VERB = """
from __future__ import annotations
from runtime.actions.command import Command, Option, Targets, Value
from runtime.actions.draft import Draft, many
from runtime.actions.families import matching_families
from runtime.actions.keys import Key
from runtime.actions.verb import DirectVerb, Subject
from runtime.model import ReceiptOutcome


class SweepVerb(DirectVerb):
    name = "sweep"
    word = "sweep"
    subject = Subject.FAMILY
    command = Command(
        "queue", "sweep", 35, "sweep families", examples=("sweep mail/send",), targets=Targets("FAMILY"),
        options=(Option("--twice", "twice", Value.FLAG, "and once more"),),
    )
    keys = (Key("backlog", "sweep", "S", "sweep", "Sweep the family", rank=49, place=3),)

    async def preview(self, intent, port):
        ids = tuple(matching_families(intent.targets, port.lane.current))
        return Draft(ids, len(ids), f"Sweep {many(ids, 'family')}", (), (), "here")

    async def carry_out(self, preview, tally, port):
        for family in preview.ids:
            await port.calls.redis(port.pressure.run("sweep", family, port.actor), (family,), tally)
            tally.put(family, ReceiptOutcome.DONE, "swept")


VERB = SweepVerb()
"""
USED = """
import sys
import runtime.actions.verbs
runtime.actions.verbs.__path__.append(sys.argv[1])

from joelclaw_tui.cli.grammar_verbs import verb_at
from joelclaw_tui.cli.parser import HelpShown, parse

heavy = {"pydantic", "asyncio", "redis", "textual"} & set(sys.modules)
said = parse(["queue", "sweep", "mail/send", "--twice", "--dry-run"])
assert (verb_at(said.command).name, said.targets, said.twice, said.dry_run) == ("sweep", ["mail/send"], True, True)
try:
    parse(["queue", "--help"])
except HelpShown as shown:
    text = shown.text
    assert text.index("resume  ") < text.index("sweep families") < text.index("hold the whole lane")

from joelclaw_tui.tui.keymap import BY_ID, KeyScope, bindings
assert BY_ID["backlog.sweep"].help == "Sweep the family"
assert "S" in {binding.key for binding in bindings(KeyScope.BACKLOG)}

import asyncio
from pathlib import Path
from runtime.actions.intents import Intent
from tests.actions.conftest import actions_on
from tests.truth.ports import make_world

async def main():
    world = make_world(Path(sys.argv[1]))
    actions = actions_on(world)
    preview = await actions.preview(Intent("sweep", ("mail/send",)))
    receipt = await actions.apply(preview, actor="ana@host", origin="cli")
    assert receipt.summary == "Sweep mail/send: 1 done"
    assert world.pressure.written == [("sweep", "mail/send", "ana@host")]
    assert world.audit.receipts == [receipt]

asyncio.run(main())
print("heavy:", sorted(heavy))
"""


def test_a_file_is_a_verb_on_the_command_line_under_a_key_and_in_the_audit_trail(tmp_path: Path) -> None:
    (tmp_path / "sweep.py").write_text(VERB)
    done = subprocess.run(
        [sys.executable, "-c", USED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "JOELCLAW_CONFIG_DIR": str(tmp_path / "no-config")},
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Verbs are looked through for every command line, `--help` and `--once` included.
    assert done.stdout.strip() == "heavy: []"
