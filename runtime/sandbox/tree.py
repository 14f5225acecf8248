"""A tree that an agent wrote, read as hostile data: no link followed, no Git asked, everything bounded.

Nothing runs in the sandbox any more when this reads, so that what is seen stays so. Git never looks at
the tree: its ``.git``, attributes, filters and configuration are data like the rest, or left out.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEPTH_MAX = 200
PATH_MAX = 4000
ENTRIES_MAX = 1_000_000
LEFT_OUT_MAX = 1000
_CHUNK = 1 << 20

REGULAR, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
_IGNORED_BY_HFS = {
    *(chr(code) for code in range(0x200C, 0x2010)),
    *(chr(code) for code in range(0x202A, 0x202F)),
    *(chr(code) for code in range(0x206A, 0x2070)),
    "\ufeff",
}


class TreeTooLarge(Exception):
    """More than can be looked through."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One file or link of a tree as Git would keep it."""

    mode: str
    sha: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the tree that is not exported, and why."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """The files and links of a tree, by path, and what is none."""

    blobs: Mapping[bytes, Blob]
    sizes: Mapping[bytes, int]
    left_out: Sequence[LeftOut]


def read_tree(root: Path, *, object_format: str, submodules: frozenset[bytes] = frozenset()) -> Found:
    """ReadPort through ``root`` and hashes every file as Git would with no attribute set.

    ``submodules``: places of the base where another repository belongs; what is there is not ours.
    Raises `TreeTooLarge`, `OSError`.
    """
    walk = _Walk(object_format, submodules)
    walk.folder(os.open(root, _FOLDER), b"", 0)
    return Found(walk.blobs, walk.sizes, walk.left_out)


def link_leaves(path: bytes, target: bytes) -> bool:
    """True when the link at ``path`` points out of the tree, or into a ``.git``."""
    if target.startswith(b"/") or b"\0" in target:
        return True
    depth = path.count(b"/")
    for part in target.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in (b"", b"."):
            if never(part) is not None:
                return True
            depth += 1
    return False


def never(name: bytes) -> str | None:
    """Why a file of this name is exported by nobody; None when it may be.

    Names that some file system takes for ``.git`` are as dangerous as that itself (Git's ``fsck.c`` has the
    same list: letters of either case, HFS+ ignoring some characters, NTFS short names and streams).
    """
    text = name.decode("utf-8", "replace")
    plain = "".join(c for c in unicodedata.normalize("NFC", text) if c not in _IGNORED_BY_HFS)
    plain = plain.partition(":")[0].rstrip(". ").casefold()
    return "it is Git's own folder" if plain in (".git", "git~1") else None


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Walk:
    def __init__(self, object_format: str, submodules: frozenset[bytes]) -> None:
        self._format = object_format
        self._submodules = submodules
        self._seen = 0
        self.blobs: dict[bytes, Blob] = {}
        self.sizes: dict[bytes, int] = {}
        self.left_out: list[LeftOut] = []

    def folder(self, descriptor: int, path: bytes, depth: int) -> None:
        """Closes ``descriptor``. One is open a level, so that no path is followed twice."""
        try:
            for name in sorted(os.fsencode(entry) for entry in os.listdir(descriptor)):
                self._seen += 1
                if self._seen > ENTRIES_MAX:
                    raise TreeTooLarge(f"the tree has more than {ENTRIES_MAX:,} files")
                self._entry(descriptor, name, path + b"/" + name if path else name, depth)
        finally:
            os.close(descriptor)

    def _entry(self, folder: int, name: bytes, place: bytes, depth: int) -> None:
        reason = never(name) if len(place) <= PATH_MAX else "its path is too long"
        if reason is not None:
            return self._leave(place, reason)
        kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            inner = os.open(name, _FOLDER, dir_fd=folder)
            if place in self._submodules:
                if os.listdir(inner):  # noqa: PTH208 - a descriptor
                    self._leave(place, "it lies in a submodule")
                return os.close(inner)
            if depth >= DEPTH_MAX:
                os.close(inner)
                return self._leave(place, f"it is more than {DEPTH_MAX} folders deep")
            return self.folder(inner, place, depth + 1)
        if stat.S_ISREG(kind):
            # Setuid, setgid and sticky bits end here: Git knows one bit.
            self._put(place, EXECUTABLE if kind & stat.S_IXUSR else REGULAR, *self._hash(folder, name))
        elif stat.S_ISLNK(kind):
            target = os.readlink(name, dir_fd=folder)
            self._put(place, LINK, blob_sha(target, self._format), len(target))
        else:
            self._leave(place, "it is neither file, folder nor link")
        return None

    def _hash(self, folder: int, name: bytes) -> tuple[str, int]:
        with os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.new(self._format, b"blob %d\0" % size, usedforsecurity=False)
            left = size
            while left and (chunk := file.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
        return digest.hexdigest(), size

    def _put(self, place: bytes, mode: str, sha: str, size: int) -> None:
        self.blobs[place] = Blob(mode, sha)
        self.sizes[place] = size

    def _leave(self, place: bytes, reason: str) -> None:
        if len(self.left_out) < LEFT_OUT_MAX:
            self.left_out.append(LeftOut(place[:PATH_MAX], reason))


def blob_sha(data: bytes, object_format: str) -> str:
    """The name that Git gives to these bytes."""
    return hashlib.new(object_format, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
