"""Putting a receipt in the audit trail, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from runtime.common.deadline import within
from runtime.common.text import one_line
from runtime.model import AuditTrail, Receipt

RECORD_DEADLINE_S = 10.0
_WARNING_LENGTH = 500


class ReceiptRecorder:
    def __init__(self, audit: AuditTrail) -> None:
        self._audit = audit

    async def record(self, receipt: Receipt) -> Receipt:
        """What was done stays done when its receipt can't be written: the receipt says so. A cancellation
        waits until it is written, and then goes on."""
        recording = asyncio.create_task(
            within(
                RECORD_DEADLINE_S,
                self._audit.record(receipt),
                boundary="the audit trail",
                address="this profile",
            )
        )
        cancelled: asyncio.CancelledError | None = None
        while not recording.done():
            try:
                await asyncio.wait({recording})
            except asyncio.CancelledError as error:
                cancelled = error
        lost = recording.exception()
        warning = recording.result() if lost is None else f"the receipt is not on record: {lost}"
        if cancelled is not None:
            raise cancelled
        return receipt if warning is None else replace(receipt, warning=one_line(warning, _WARNING_LENGTH))
