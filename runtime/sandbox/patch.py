"""What an agent changed, as one commit on its base, a patch and a bundle.

The commit is made with ``git fast-import`` from bytes that we read ourselves; Git sees no work tree.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runtime.model import OperatorError
from runtime.sandbox.git import IDENTITY, GitFailed, run_git
from runtime.sandbox.isolation.limits import size_words
from runtime.sandbox.materialize import Base
from runtime.sandbox.tree import EXECUTABLE, LINK, REGULAR, SUBMODULE, Blob, Found, LeftOut, link_leaves

FILES_MAX = 20_000
BYTES_MAX = 256 * 2**20
PATCH_MAX = 512 * 2**20
RUN_REF = "refs/heads/joelclaw-run"
SECRET_LEAST = 8
"""Bytes. Shorter values turn up in any change by chance, and would fail runs that leaked nothing."""
_CHUNK = 1 << 20
_IGNORE_MAX = 2**20
_IGNORES_MAX = 64 * 2**20


class ChangeTooLarge(OperatorError):
    """The change is more than an artifact may hold."""

    code = "change-too-large"


class SecretInChange(OperatorError):
    """The agent wrote a secret of its run into its tree; the message has the variable's name only."""

    code = "secret-in-change"


@dataclass(frozen=True, slots=True)
class Change:
    """What a run did to its tree. ``commit`` is None when nothing was changed."""

    commit: str | None
    tree_sha: str
    files: int
    insertions: int
    deletions: int
    """Lines; files that are not text count none."""
    paths: tuple[bytes, ...]
    left_out: tuple[LeftOut, ...]


def make_change(
    base: Base, tree: Path, found: Found, *, message: str, at: int, secrets: Mapping[str, str]
) -> Change:
    """Commits the difference between ``base`` and ``found`` (which was read from ``tree``).

    ``at``: the commit's time, seconds since the epoch. ``secrets``: values by the variables' names; nothing is
    made of a change that holds one. Blocks. Raises `ChangeTooLarge`, `SecretInChange`, `GitFailed`, `OSError`.
    """
    left_out = list(found.left_out)
    blobs = _without_leaving_links(base, tree, found, left_out)
    blobs = _without_ignored(base, tree, blobs)
    kept_submodules = {path: blob for path, blob in base.blobs.items() if blob.mode == SUBMODULE}
    changed = {path: blob for path, blob in blobs.items() if base.blobs.get(path) != blob}
    removed = [path for path in base.blobs if path not in blobs and path not in kept_submodules]
    # What stands where something is left out stays as it was.
    places = {out.path for out in left_out}
    removed = [path for path in removed if not any(place in places for place in _with_folders(path))]
    if not changed and not removed:
        return Change(None, _tree_of(base, base.sha), 0, 0, 0, (), tuple(left_out))
    size = sum(found.sizes[path] for path in changed)
    if len(changed) + len(removed) > FILES_MAX or size > BYTES_MAX:
        raise ChangeTooLarge(
            f"the change has {len(changed) + len(removed):,} files and {size_words(size)}; "
            f"an artifact holds {FILES_MAX:,} files and {size_words(BYTES_MAX)}",
            fix="let the agent write what it builds to /tmp, or add it to .gitignore",
        )
    name = _secret_in(tree, changed, secrets)
    if name is not None:
        raise SecretInChange(
            f"the change holds the secret {name}",
            fix="let the agent keep it out of its files and their names",
        )
    stream = base.git_dir / "import"
    try:
        with stream.open("wb") as file:
            _write_import(file, base, tree, changed, removed, message=message, at=at)
        with stream.open("rb") as file:
            run_git(
                ["fast-import", "--quiet", "--done", f"--export-marks={base.git_dir / 'marks'}"],
                git_dir=base.git_dir,
                given=file,
            )
    finally:
        stream.unlink(missing_ok=True)
    commit = run_git(["rev-parse", "--verify", RUN_REF], git_dir=base.git_dir).decode("ascii").strip()
    insertions, deletions = _count_lines(base, commit)
    return Change(
        commit,
        _tree_of(base, commit),
        len(changed) + len(removed),
        insertions,
        deletions,
        tuple(sorted((*changed, *removed))),
        tuple(left_out),
    )


def write_patch(base: Base, commit: str, into: Path) -> None:
    """The change as text that ``git apply`` takes; proven to lead from the base to the commit's tree.

    Raises `GitFailed`, `ChangeTooLarge`."""
    with into.open("wb") as file:
        run_git(
            [
                "diff-tree", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv",
                "--no-color", "--src-prefix=a/", "--dst-prefix=b/", base.sha, commit,
            ],
            git_dir=base.git_dir,
            into=file,
        )  # fmt: skip
    if into.stat().st_size > PATCH_MAX:
        raise ChangeTooLarge(
            f"the patch has {size_words(into.stat().st_size)}", fix="let the agent change less"
        )
    index = base.git_dir / "apply.index"
    extra = {"GIT_INDEX_FILE": str(index)}
    try:
        run_git(["read-tree", base.sha], git_dir=base.git_dir, extra=extra)
        run_git(["apply", "--cached", "--whitespace=nowarn", str(into)], git_dir=base.git_dir, extra=extra)
        tree = run_git(["write-tree"], git_dir=base.git_dir, extra=extra).decode("ascii").strip()
    finally:
        index.unlink(missing_ok=True)
    if tree != _tree_of(base, commit):
        raise GitFailed("the patch does not lead from the base to what the agent left")


def write_bundle(base: Base, into: Path) -> None:
    """The commit as a bundle that stands on the base, its objects checked as a careful receiver would.

    Raises `GitFailed`."""
    run_git(["bundle", "create", "--quiet", str(into), f"^{base.sha}", RUN_REF], git_dir=base.git_dir)
    with open_pack(into) as pack:
        run_git(["index-pack", "--stdin", "--strict", "--fix-thin"], git_dir=base.git_dir, given=pack)


@contextmanager
def open_pack(bundle: Path) -> Iterator[IO[bytes]]:
    """The pack in a bundle, from its first byte on (gitformat-bundle(5)). Raises `GitFailed`, `OSError`."""
    with bundle.open("rb", buffering=0) as file:
        head = file.read(64 * 1024)
        end = head.find(b"\n\n")
        if not head.startswith(b"# v") or end < 0:
            raise GitFailed(f"{bundle} is no bundle")
        file.seek(end + 2)
        yield file


def _tree_of(base: Base, commit: str) -> str:
    return (
        run_git(["rev-parse", "--verify", f"{commit}^{{tree}}"], git_dir=base.git_dir).decode("ascii").strip()
    )


def _without_leaving_links(
    base: Base, tree: Path, found: Found, left_out: list[LeftOut]
) -> dict[bytes, Blob]:
    """New or changed links that point out of the tree are left out: whoever opens the branch would follow them."""
    kept: dict[bytes, Blob] = {}
    for path, blob in found.blobs.items():
        if blob.mode == LINK and base.blobs.get(path) != blob:
            target = os.readlink(os.fsencode(tree) + b"/" + path)  # noqa: PTH115 - bytes
            if link_leaves(path, target):
                left_out.append(LeftOut(path, "a link that points out of the tree"))
                continue
        kept[path] = blob
    return kept


def _without_ignored(base: Base, tree: Path, blobs: Mapping[bytes, Blob]) -> dict[bytes, Blob]:
    """New files that the tree's ``.gitignore`` files name are not part of the change.

    Git asks the work tree for nothing but these files, so it gets a folder of ours with copies of them: in the
    agent's tree it would open whatever stands at such a name, and wait for ever at a pipe.
    """
    new = [path for path in blobs if path not in base.blobs]
    if not new or not any(path == b".gitignore" or path.endswith(b"/.gitignore") for path in blobs):
        return dict(blobs)
    ignored: set[bytes] = set()
    index, ours = base.git_dir / "ignore.index", base.git_dir / "ignore.tree"
    try:
        _copy_ignores(tree, blobs, ours)
        told = run_git(
            ["check-ignore", "--no-index", "--stdin", "-z"],
            git_dir=base.git_dir,
            extra={"GIT_WORK_TREE": str(ours), "GIT_INDEX_FILE": str(index)},
            # A name that begins with a colon would be taken for pathspec magic (gitglossary(7)).
            given=b"".join(b"./" + path + b"\0" for path in new),
            cwd=ours,
            fine=(0, 1),
        )
        ignored.update(path.removeprefix(b"./") for path in told.split(b"\0"))
    finally:
        index.unlink(missing_ok=True)
        shutil.rmtree(ours, ignore_errors=True)
    return {path: blob for path, blob in blobs.items() if path in base.blobs or path not in ignored}


def _copy_ignores(tree: Path, blobs: Mapping[bytes, Blob], into: Path) -> None:
    """Every ``.gitignore`` that is a regular file. Larger ones than anybody writes are passed over, as Git does."""
    into.mkdir(mode=0o700)
    room = _IGNORES_MAX
    # Paths are as long as the system takes them, so none may be put behind another: both begin at a folder.
    with _opened(tree) as source, _opened(into) as target:
        for path, blob in blobs.items():
            folder, _, name = path.rpartition(b"/")
            if name != b".gitignore" or blob.mode not in (REGULAR, EXECUTABLE):
                continue
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, dir_fd=source), "rb") as file:
                data = file.read(_IGNORE_MAX + 1)
            if len(data) > _IGNORE_MAX:
                continue
            room -= len(data)
            if room < 0:
                # Files with holes cost the agent nothing; their copies would cost us the disk.
                raise ChangeTooLarge(
                    f"the tree has more than {size_words(_IGNORES_MAX)} of .gitignore files",
                    fix="let the agent write fewer",
                )
            for place in reversed(list(_with_folders(folder))):
                with suppress(FileExistsError):
                    os.mkdir(place, 0o700, dir_fd=target)
            new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, new, 0o600, dir_fd=target), "wb") as copy:
                copy.write(data)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _secret_in(tree: Path, changed: Mapping[bytes, Blob], secrets: Mapping[str, str]) -> str | None:
    """The variable whose value stands in a changed file, link or path; None when none does."""
    values = {name: value.encode("utf-8", "surrogateescape") for name, value in sorted(secrets.items())}
    values = {name: value for name, value in values.items() if len(value) >= SECRET_LEAST}
    if not values:
        return None
    overlap = max(map(len, values.values())) - 1
    for path, blob in changed.items():
        for text in (path, *_windows(os.fsencode(tree) + b"/" + path, blob, overlap)):
            for name, value in values.items():
                if value in text:
                    return name
    return None


def _windows(place: bytes, blob: Blob, overlap: int) -> Iterator[bytes]:
    """What is at ``place`` in pieces, each with the last ``overlap`` bytes of the one before it."""
    if blob.mode == LINK:
        yield os.readlink(place)  # noqa: PTH115 - bytes
        return
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
        before = b""
        for chunk in _chunks(source, os.fstat(source.fileno()).st_size):
            text = before + chunk
            yield text
            before = text[max(0, len(text) - overlap) :]


def _with_folders(path: bytes) -> Iterator[bytes]:
    """``a/b/c``, ``a/b``, ``a``."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _write_import(
    file: IO[bytes],
    base: Base,
    tree: Path,
    changed: Mapping[bytes, Blob],
    removed: Sequence[bytes],
    *,
    message: str,
    at: int,
) -> None:
    marks: dict[bytes, int] = {}
    for number, path in enumerate(sorted(changed), 1):
        marks[path] = number
        file.write(b"blob\nmark :%d\n" % number)
        _write_data(file, tree, path, changed[path])
    who = f"{IDENTITY['GIT_AUTHOR_NAME']} <{IDENTITY['GIT_AUTHOR_EMAIL']}> {at} +0000".encode()
    text = message.encode("utf-8", "replace")
    file.write(b"commit " + RUN_REF.encode() + b"\nauthor " + who + b"\ncommitter " + who)
    file.write(b"\ndata %d\n" % len(text) + text + b"\nfrom " + base.sha.encode() + b"\n")
    # Removals first: a folder may have become a file, or a file a folder.
    for path in sorted(removed):
        file.write(b"D " + quoted(path) + b"\n")
    for path in sorted(changed):
        file.write(b"M " + changed[path].mode.encode() + b" :%d " % marks[path] + quoted(path) + b"\n")
    file.write(b"\ndone\n")


def _write_data(file: IO[bytes], tree: Path, path: bytes, blob: Blob) -> None:
    place = os.fsencode(tree) + b"/" + path
    if blob.mode == LINK:
        target = os.readlink(place)  # noqa: PTH115 - bytes
        file.write(b"data %d\n" % len(target) + target + b"\n")
        return
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
        size = os.fstat(source.fileno()).st_size
        file.write(b"data %d\n" % size)
        for chunk in _chunks(source, size):
            file.write(chunk)
    file.write(b"\n")


def _chunks(source: IO[bytes], size: int) -> Iterator[bytes]:
    while size and (chunk := source.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def quoted(path: bytes) -> bytes:
    """A path as fast-import wants it when it has anything but plain characters (git-fast-import(1))."""
    return (
        b'"'
        + b"".join(bytes([c]) if 32 <= c < 127 and c not in b'"\\' else b"\\%03o" % c for c in path)
        + b'"'
    )


def _count_lines(base: Base, commit: str) -> tuple[int, int]:
    told = run_git(
        [
            "diff-tree",
            "-r",
            "--numstat",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            base.sha,
            commit,
        ],
        git_dir=base.git_dir,
    )
    insertions = deletions = 0
    for line in told.split(b"\0"):
        more, _, rest = line.partition(b"\t")
        less, _, _ = rest.partition(b"\t")
        insertions += int(more) if more.isdigit() else 0
        deletions += int(less) if less.isdigit() else 0
    return insertions, deletions
