"""Git, hardened: nothing that a repository, a tree or the environment says makes it run a program.

Every call has an environment of its own, in which no ``GIT_*`` of ours remains, and the settings
below on its command line, where they outrank any configuration file. Hooks, file system monitors,
external diffs, text conversions, filters, pagers, credential prompts and all transports but local
files are off. Trees that an agent wrote are never handed to Git at all (see `patch`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runtime.common.text import one_line
from runtime.model import OperatorError

TIMEOUT_S = 600.0
_SAID_MAX = 400
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.autocrlf": "false",
    "core.quotePath": "true",
    "core.pager": "cat",
    "core.editor": "false",
    "core.askPass": "false",
    "core.alternateRefsCommand": "true",
    "credential.helper": "",
    "diff.external": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "init.defaultBranch": "main",
    "init.templateDir": "",
    "commit.gpgSign": "false",
    "log.showSignature": "false",
}
ATTRIBUTES = (
    "* !text !eol -ident -filter !diff !merge -working-tree-encoding -export-subst -export-ignore !crlf\n"
)
"""For ``info/attributes``, which outranks every ``.gitattributes``: bytes go in and out as they are."""
IDENTITY = {
    "GIT_AUTHOR_NAME": "joelclaw sandbox",
    "GIT_AUTHOR_EMAIL": "sandbox@joelclaw.invalid",
    "GIT_COMMITTER_NAME": "joelclaw sandbox",
    "GIT_COMMITTER_EMAIL": "sandbox@joelclaw.invalid",
}


class GitFailed(OperatorError):
    """A Git command did not succeed; the message has its last words."""

    code = "git-failed"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose rights a command has."""

    uid: int
    gid: int


def account_of(path: Path) -> Account | None:
    """The owner of ``path`` when we are root and it belongs to somebody else; else None, our own rights.

    As root, Git would run with all rights on what another user wrote, and leave files there that
    this user can't change.
    """
    if os.geteuid() != 0:
        return None
    status = path.stat()
    return Account(status.st_uid, status.st_gid) if status.st_uid != 0 else None


def environment(*, config: Path | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a Git command. ``config`` stands in for the user's own configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LANG": "C",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull if config is None else str(config),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **(extra or {}),
    }


def run_git(
    arguments: Sequence[str],
    *,
    git_dir: Path,
    config: Path | None = None,
    extra: Mapping[str, str] | None = None,
    given: bytes | IO[bytes] | None = None,
    into: IO[bytes] | None = None,
    account: Account | None = None,
    timeout_s: float = TIMEOUT_S,
    fine: Sequence[int] = (0,),
    cwd: Path = Path("/"),
) -> bytes:
    """Runs ``git ARGUMENTS`` on ``git_dir`` and returns its output (empty when it goes ``into`` a file).

    ``given`` is its standard input; exit codes other than those ``fine`` are failures. Blocks. Raises `GitFailed`.
    """
    command = ["git", *(word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}"))]
    # The repository was named by an operator or made by us: that is what the ownership check asks for.
    command += ["-c", f"safe.directory={git_dir}", f"--git-dir={git_dir}", *arguments]
    what = f"git {arguments[0]}"
    try:
        process = subprocess.Popen(
            command,
            env=environment(config=config, extra=extra),
            cwd=cwd,
            stdin=subprocess.PIPE if isinstance(given, bytes) else given or subprocess.DEVNULL,
            stdout=into or subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError as error:
        raise GitFailed(f"{what} can't be started: {error}", fix="install git 2.34 or newer") from None
    try:
        output, said = process.communicate(given if isinstance(given, bytes) else None, timeout_s)
    except subprocess.TimeoutExpired:
        raise GitFailed(
            f"{what} had not ended after {timeout_s:g} s", fix="is the disk overloaded?"
        ) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode not in fine:
        words = one_line(said.decode("utf-8", "replace").strip()[-4000:], _SAID_MAX)
        raise GitFailed(f"{what} on {git_dir} failed with {process.returncode}: {words}")
    return output or b""
