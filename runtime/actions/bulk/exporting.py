"""Items to a file before they are discarded: all of them or nothing is discarded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from runtime.actions.bulk.ports import ItemLines
from runtime.model import FrozenPreview, OperatorError, PreviewLedger, Refused, SelectedItem
from runtime.text import one_line

LINES_AT_ONCE = 200


def free_path(given: str) -> Path:
    """The absolute path of a file that can be made. Raises `Refused`."""
    path = Path(given).expanduser().absolute()
    if os.path.lexists(path):
        raise Refused(
            f"{one_line(str(path))} is there already, and an export overwrites nothing",
            fix="name another file",
            code="file-exists",
        )
    if not path.parent.is_dir():
        raise Refused(f"{one_line(str(path.parent))} is no folder", fix="name a file in one that is there")
    return path


async def export(
    preview: FrozenPreview, previews: PreviewLedger, exporter: ItemLines, *, again: bool
) -> None:
    """Every item of ``preview`` on a line of its file, safely on disk. ``again``: an earlier try was cut off,
    and the file may be that one's. Raises `Refused`, `BoundaryDown`, `OperatorError` (a full disk)."""
    path = Path(preview.export_to or "")
    part = path.with_name(f".{path.name[:100]}.{preview.preview_id}")
    try:
        if not again:
            await asyncio.to_thread(_claim, path)
        file = await asyncio.to_thread(_opened, part)
        try:
            chunk: list[str] = []
            async for line in exporter.lines_of(_batches(preview, previews)):
                chunk.append(line)
                if len(chunk) == LINES_AT_ONCE:
                    await asyncio.to_thread(_write, file, chunk)
                    chunk = []
            await asyncio.to_thread(_write, file, chunk)
            await asyncio.to_thread(_safe, file)
        finally:
            file.close()
        await asyncio.to_thread(os.replace, part, path)
    except FileExistsError:
        raise Refused(
            f"{one_line(str(path))} is there by now, and an export overwrites nothing; nothing was discarded",
            fix="preview again with another file",
            code="file-exists",
        ) from None
    except OSError as error:
        raise OperatorError(
            f"{one_line(str(path))}: {error.strerror}; nothing was discarded",
            fix="make room, or preview again with another file",
            code="export-failed",
        ) from None


async def _batches(
    preview: FrozenPreview, previews: PreviewLedger
) -> AsyncIterator[tuple[str, Sequence[SelectedItem]]]:
    for number in range(preview.batches):
        batch = await previews.batch(preview.preview_id, number)
        yield batch.family, batch.items


def _claim(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _write(file: BinaryIO, lines: Sequence[str]) -> None:
    file.write("".join(lines).encode("utf-8", "surrogatepass"))


def _safe(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
