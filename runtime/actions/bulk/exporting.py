"""Items to a file before they are discarded: all of them or nothing is discarded."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from runtime.actions.bulk.ports import ItemLines
from runtime.common.export_path import not_written, taken
from runtime.common.text import one_line
from runtime.model import FrozenPreview, PreviewLedger, Refused, SelectedItem

LINES_AT_ONCE = 200


async def export(
    preview: FrozenPreview, previews: PreviewLedger, exporter: ItemLines, *, again: bool
) -> None:
    """Every item of ``preview`` on a line of its file, safely on disk, and that on record. ``again``: an
    earlier try was cut off, and the file may be that one's. One process at a time: a second one would write
    what the first has left of them, over the file that has them all.

    Raises `UsageError` (its place), `Refused` (it is under way), `BoundaryDown`, `OperatorError` (a full disk)."""
    path = Path(preview.export_to or "")
    part = path.with_name(f".{path.name[:100]}.{preview.preview_id}")
    try:
        if not again:
            await asyncio.to_thread(_claim, path)
        file = await asyncio.to_thread(_opened, part)
        try:
            kept = await previews.read(preview.preview_id)
            if kept is not None and kept.exported:  # by the one before, since this process looked
                await asyncio.to_thread(os.unlink, part)
                return
            try:
                await _fill(file, exporter.lines_of(_batches(preview, previews)))
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)  # half of an export is none; its name stays claimed
                raise
            await previews.note_export(preview.preview_id)
        finally:
            file.close()
    except BlockingIOError:
        raise Refused(
            f"{one_line(str(path))} is being written by another process that applies this preview",
            fix="wait until it has done so, then apply again",
            code="export-under-way",
        ) from None
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise not_written(path, error, so="; nothing was discarded") from None


async def _fill(file: BinaryIO, lines: AsyncIterator[str]) -> None:
    chunk: list[str] = []
    async for line in lines:
        chunk.append(line)
        if len(chunk) == LINES_AT_ONCE:
            await asyncio.to_thread(_write, file, chunk)
            chunk = []
    await asyncio.to_thread(_write, file, chunk)
    await asyncio.to_thread(_safe, file)


async def _batches(
    preview: FrozenPreview, previews: PreviewLedger
) -> AsyncIterator[tuple[str, Sequence[SelectedItem]]]:
    for number in range(preview.batches):
        batch = await previews.batch(preview.preview_id, number)
        yield batch.family, batch.items


def _claim(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _opened(path: Path) -> BinaryIO:
    """Empty, and this process's own until it is closed. Raises `BlockingIOError`: it is another's."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise BlockingIOError  # the other one ended between the two, and this is its finished file
        file.truncate()
    except BaseException:
        file.close()
        raise
    return file


def _write(file: BinaryIO, lines: Sequence[str]) -> None:
    file.write("".join(lines).encode("utf-8", "surrogatepass"))


def _safe(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
