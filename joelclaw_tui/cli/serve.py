"""``serve``: roles in the foreground of this process, until Ctrl+C."""

from __future__ import annotations

import os

from joelclaw_tui.cli.session import Session
from runtime.common.given_path import given_path
from runtime.settings import Settings


def serve(session: Session) -> int:
    """Returns the roles' exit code."""
    _hand_down(session.settings, session.arguments)
    from runtime.roles.main import main  # late: the servers' libraries

    return main(list(dict.fromkeys(session.arguments.roles)))


def _hand_down(settings: Settings, arguments: object) -> None:
    """Roles are configured by the environment: what this command line said goes there."""
    if hasattr(arguments, "profile"):
        os.environ["JOELCLAW_PROFILE"] = settings.profile
    if hasattr(arguments, "lane") and settings.lane is not None:
        os.environ["JOELCLAW_LANE"] = str(given_path(settings.lane))
    if settings.read_only:
        os.environ["JOELCLAW_READ_ONLY"] = "true"
