"""Errors made where their cause is known, and shown to a person at one place."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The process exit codes of the outside contract."""

    OK = 0
    ATTENTION = 1
    USAGE = 2
    DOWN = 3
    TIMEOUT = 4
    INTERRUPTED = 130


class OperatorError(Exception):
    """An error made where its cause is known and shown to a person at one place.

    ``code`` is stable and machine-readable, ``message`` says what and where,
    ``fix`` says what to do next.
    """

    code = "error"
    exit_code = ExitCode.ATTENTION
    http_status = 500

    def __init__(self, message: str, *, fix: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        if code is not None:
            self.code = code


class UsageError(OperatorError):
    """What was asked for can't be understood or is not allowed: nothing was done."""

    code = "usage"
    exit_code = ExitCode.USAGE
    http_status = 400


class ConfigError(UsageError):
    """A settings or lane file that can't be used; the message has the place and the reason."""

    code = "config"


class UnknownFamily(UsageError):
    """A family that the lane file does not declare. Refused at the door, never quarantined."""

    code = "unknown-family"
    http_status = 404


class UnknownSchedule(UsageError):
    """A schedule that the lane file does not declare."""

    code = "unknown-schedule"
    http_status = 404


class PayloadError(UsageError):
    """A payload that is not JSON, not valid UTF-8, larger than the limit, or not what its family wants
    (code ``schema``)."""

    code = "bad-payload"
    http_status = 400


class PayloadTooLarge(PayloadError):
    code = "payload-too-large"
    http_status = 413


class NotFound(UsageError):
    """No item, run or preview of that id."""

    code = "not-found"
    http_status = 404


class ReadOnly(UsageError):
    """Read-only mode refused a change."""

    code = "read-only"
    http_status = 403


class Refused(OperatorError):
    """The action was understood but its checks refused it; nothing was done."""

    code = "refused"
    http_status = 409


class BoundaryDown(OperatorError):
    """A boundary could not be reached or did not answer within its deadline."""

    code = "boundary-down"
    exit_code = ExitCode.DOWN
    http_status = 503


class WritesRefused(BoundaryDown):
    """A boundary answered, and its own state lets it take no writes (no memory, no disk, a replica): nothing
    was stored. That it passes is likelier than with a `Refused`, so whoever asked may come again later."""

    code = "writes-refused"


class TimedOut(OperatorError):
    code = "timed-out"
    exit_code = ExitCode.TIMEOUT
    http_status = 504


class BacklogFull(Refused):
    """A family's backlog is at its ceiling: nothing was stored, and the caller may come again later."""

    code = "backlog-full"
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: float, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after_s = retry_after_s
        """When there may be room, in seconds: an estimate."""


class Draining(Refused):
    """A family that runs dry on purpose takes nothing in: nothing was stored."""

    code = "draining"
    http_status = 503
