"""One bare mirror a repository, from which every run's tree comes; a base becomes a SHA here.

The repository itself is only ever read, by Git's own transport, with its owner's rights.
"""

from __future__ import annotations

import re
from pathlib import Path

from runtime.common.files import write_whole
from runtime.common.text import one_line
from runtime.lane.sandbox import check_base
from runtime.model import ConfigError, OperatorError
from runtime.sandbox.files import waiting_lock
from runtime.sandbox.git import Account, GitFailed, account_of, run_git
from runtime.sandbox.paths import Paths

_SHA = re.compile(r"[0-9a-f]{4,64}")


class NoSuchBase(ConfigError):
    """The base names no commit of the repository."""

    code = "no-such-base"


class NoRepository(ConfigError):
    """The path is not a Git repository that can be read."""

    code = "no-repository"


def git_dir_of(repo: Path) -> Path:
    """The Git folder of a bare repository, a checkout or a linked worktree, its common folder for the
    latter. Reads files only. Raises `NoRepository`."""
    try:
        candidate = repo / ".git"
        if candidate.is_file():
            candidate = _pointed_at(candidate)
        elif not candidate.is_dir():
            candidate = repo
        common = candidate / "commondir"
        if common.is_file():
            candidate = (candidate / common.read_text(encoding="utf-8").strip()).resolve()
        if (
            (candidate / "objects").is_dir()
            and (candidate / "refs").is_dir()
            and (candidate / "HEAD").exists()
        ):
            return candidate.resolve()
    except (OSError, UnicodeDecodeError) as error:
        raise NoRepository(
            f"{one_line(str(repo))} can't be read: {one_line(str(error))}",
            fix="check the path and its rights",
        ) from None
    raise NoRepository(f"{one_line(str(repo))} is not a Git repository", fix="correct repo in the lane file")


def _pointed_at(file: Path) -> Path:
    text = file.read_text(encoding="utf-8")
    if not text.startswith("gitdir:"):
        raise NoRepository(f"{one_line(str(file))} is no Git folder", fix="correct repo in the lane file")
    return (file.parent / text.removeprefix("gitdir:").strip()).resolve()


def refresh(places: Paths, repo: Path) -> Path:
    """Brings the mirror of ``repo`` up to date and returns it. Objects once fetched are kept: a run may
    stand on them. Blocks. Raises `NoRepository`, `GitFailed`."""
    source = git_dir_of(repo)
    mirror = places.mirror(repo)
    config = mirror.with_suffix(".config")
    places.create()
    with waiting_lock(mirror.with_suffix(".lock")):
        if not (mirror / "joelclaw-complete").exists():
            object_format = _object_format(source)
            mirror.mkdir(mode=0o700, exist_ok=True)
            run_git(["init", "--quiet", "--bare", f"--object-format={object_format}"], git_dir=mirror)
            write_whole(config, _config(source).encode("utf-8", "surrogateescape"))
            write_whole(mirror / "joelclaw-complete", b"")
        # The other end runs with the owner's rights: Git must not obey another user's files as root.
        owner = account_of(source)
        upload_pack = [] if owner is None else [f"--upload-pack={_as(owner)} git-upload-pack"]
        run_git(
            [
                "fetch",
                "--quiet",
                "--force",
                "--prune",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-auto-maintenance",
                "--no-recurse-submodules",
                *upload_pack,
                str(source),
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
            ],
            git_dir=mirror,
            config=config,
        )
    return mirror


def _as(owner: Account) -> str:
    return f"setpriv --reuid {owner.uid} --regid {owner.gid} --clear-groups"


def _config(source: Path) -> str:
    quoted = str(source).replace("\\", "\\\\").replace('"', '\\"')
    return f'[safe]\n\tdirectory = "{quoted}"\n[core]\n\thooksPath = "/dev/null"\n\tfsmonitor = false\n'


def _object_format(source: Path) -> str:
    """``sha1`` or ``sha256``, as the repository's own configuration says."""
    account = account_of(source)
    return run_git(["rev-parse", "--show-object-format"], git_dir=source, account=account).decode().strip()


def resolve(mirror: Path, base: str) -> str:
    """The commit SHA of a branch, a tag or a SHA, in this order. Blocks. Raises `NoSuchBase`."""
    try:
        check_base(base)
    except ValueError as error:
        raise NoSuchBase(str(error), fix="name a branch, a tag or a SHA") from None
    wanted = [f"refs/heads/{base}", f"refs/tags/{base}"]
    if _SHA.fullmatch(base):
        wanted.append(base)
    for name in wanted:
        try:
            found = run_git(
                ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"], git_dir=mirror
            )
        except GitFailed:
            continue
        return found.decode("ascii").strip()
    raise NoSuchBase(
        f"base {one_line(base, 80)!r} is no branch, no tag and no commit of a branch or tag of the repository",
        fix="correct base in the lane file or in the payload, then replay the item",
    )


def is_branch(mirror: Path, base: str) -> bool:
    try:
        run_git(["show-ref", "--verify", "--quiet", f"refs/heads/{base}"], git_dir=mirror)
    except OperatorError:
        return False
    return True
