"""The clean tree at a base SHA, and the private Git folder in which a run's change is computed.

The private folder has the mirror's objects and our attributes; the tree has no ``.git`` at all. An agent that
makes one makes it for itself: nothing out here reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.sandbox.git import ATTRIBUTES, Account, run_git
from runtime.sandbox.tree import SUBMODULE, Blob


@dataclass(frozen=True, slots=True)
class Base:
    """One commit, ready to be checked out as often as needed."""

    git_dir: Path
    sha: str
    object_format: str
    blobs: dict[bytes, Blob]

    @property
    def submodules(self) -> frozenset[bytes]:
        return frozenset(path for path, blob in self.blobs.items() if blob.mode == SUBMODULE)


def open_base(folder: Path, mirror: Path, sha: str) -> Base:
    """Makes the private Git folder at ``folder``. Blocks. Raises `GitFailed`, `OSError`."""
    object_format = run_git(["rev-parse", "--show-object-format"], git_dir=mirror).decode("ascii").strip()
    folder.mkdir(mode=0o700)
    run_git(["init", "--quiet", "--bare", f"--object-format={object_format}"], git_dir=folder)
    (folder / "objects" / "info").mkdir(exist_ok=True)
    (folder / "objects" / "info" / "alternates").write_bytes(os.fsencode(mirror / "objects") + b"\n")
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "attributes").write_text(ATTRIBUTES, encoding="ascii")
    return Base(folder, sha, object_format, list_tree(folder, sha))


def list_tree(git_dir: Path, sha: str) -> dict[bytes, Blob]:
    """Files, links and submodules of a commit or tree, by path."""
    listing = run_git(["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", sha], git_dir=git_dir)
    blobs: dict[bytes, Blob] = {}
    for line in listing.split(b"\0")[:-1]:
        told, _, path = line.partition(b"\t")
        mode, _, name = told.decode("ascii").split(" ")
        blobs[path] = Blob(mode, name)
    return blobs


def check_out(base: Base, sha: str, tree: Path, account: Account) -> None:
    """Fills the empty folder ``tree`` with exactly the files of ``sha``, which then belong to ``account``.

    Blocks. Raises `GitFailed` (the disk limit among the reasons), `OSError`.
    """
    index = base.git_dir / "check-out.index"
    extra = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
    try:
        run_git(["read-tree", "--end-of-options", sha], git_dir=base.git_dir, extra=extra)
        run_git(["checkout-index", "--all", "--force"], git_dir=base.git_dir, extra=extra)
    finally:
        index.unlink(missing_ok=True)
    if os.geteuid() == 0:
        _give(tree, account)


def _give(tree: Path, account: Account) -> None:
    """Links themselves are given, never what they point at."""
    for _, folders, files, descriptor in os.fwalk(tree, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
