"""One program, run to its end: bounded in time and output, and nothing of it left behind.

The program leads a session and process group of its own. Whatever ends the call (its exit, the
time limit, a cancellation), the whole group is ended: SIGTERM, a short grace, SIGKILL. A child that
keeps the output pipe open can't hold the call: the pipes are ours and are read with a bound.
A child that makes a session of its own leaves the group and is not found.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runtime.durable.handlers.base import HandlerCall, HandlerFailure
from runtime.durable.handlers.guard import WORK_PREFIX, GroupGuard

HEAD_MAX = 4 * 1024
TAIL_MAX = 4 * 1024
"""Bytes of each output that are kept: its beginning and its end."""
ENDING_MAX_S = 3.0
"""Part of a try's time kept back for ending the group and reading the pipes out."""
PAYLOAD, FAILURES = "payload.json", "failures.json"
_POLL_S = 0.02
_PASSED_ON = ("PATH", "HOME", "LANG")
_MAY_PASS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.ETXTBSY})


class CapturedOutput:
    """The beginning and the end of what a program wrote."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes written in all."""

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = HEAD_MAX - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        del self._tail[:-TAIL_MAX]

    @property
    def text(self) -> str:
        left_out = self.total - len(self._head) - len(self._tail)
        middle = f"\n… {left_out} bytes left out …\n".encode() if left_out else b""
        return (bytes(self._head) + middle + bytes(self._tail)).decode("utf-8", "replace")

    @property
    def last_line(self) -> str:
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


@dataclass(frozen=True, slots=True)
class Finished:
    """``code`` is the exit code, or minus the signal's number."""

    code: int
    stdout: CapturedOutput
    stderr: CapturedOutput

    @property
    def how(self) -> str:
        if self.code >= 0:
            return f"exited with {self.code}"
        try:
            return f"was ended by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"was ended by signal {-self.code}"


class _Tap(asyncio.Protocol):
    """Reads a pipe into an `CapturedOutput`."""

    def __init__(self, output: CapturedOutput, closed: asyncio.Future[None]) -> None:
        self._output = output
        self._closed = closed

    def data_received(self, data: bytes) -> None:
        self._output.add(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)


@contextlib.contextmanager
def work_folder(call: HandlerCall) -> Iterator[tuple[Path, dict[str, str]]]:
    """A private folder with the call's payload and earlier failures, and the environment that says where.

    It lives as long as the try, whatever the program leaves running behind it. Paths rather than texts:
    a variable has room for 128 KiB only (MAX_ARG_STRLEN, execve(2)).

    The environment has PATH, HOME, LANG and ``JOELCLAW_*`` for this run, nothing else of the
    worker's: its own settings hold secrets.
    """
    folder = Path(tempfile.mkdtemp(prefix=WORK_PREFIX))  # only this user may enter
    try:
        failures = [
            {"attempt": f.attempt, "outcome": f.outcome, "message": f.message} for f in call.request.failures
        ]
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        env.update({f"JOELCLAW_{name.upper()}": value for name, value in call.identity.items()})
        for name, text in ((PAYLOAD, call.request.payload), (FAILURES, json.dumps(failures))):
            _write_private(folder / name, text)
            env[f"JOELCLAW_{name.partition('.')[0].upper()}"] = str(folder / name)
        yield folder, env
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode())


async def run_process(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    folder: Path,
    timeout_s: float,
    guard: GroupGuard,
    on_process: Callable[[int], None] | None = None,
) -> Finished:
    """Runs ``argv`` with the payload of ``folder`` on its standard input.

    ``timeout_s`` covers all: the program, the end of its children, the rest of its output. Raises
    `HandlerFailure` where it can't be started (final unless the machine was out of something) and
    where its time was over.
    """
    ending_s = min(ENDING_MAX_S, timeout_s / 4)
    _check(argv[0], env, cwd)
    async with _pipes(drain_s=ending_s / 3) as pipes, _gate() as gate:
        process = await _start(
            [*_gated(env), str(folder / PAYLOAD), *argv], env=env, cwd=cwd, gate=gate, pipes=pipes
        )
        with contextlib.ExitStack() as watch:
            try:
                watch.enter_context(guard.watching(process.pid, folder))
                if on_process is not None:
                    on_process(process.pid)
                gate.open()
                async with asyncio.timeout(timeout_s - ending_s):
                    code = await process.wait()
            except TimeoutError:
                last = f": {pipes.stderr.last_line}" if pipes.stderr.last_line else ""
                raise HandlerFailure(
                    f"{Path(argv[0]).name} had not ended after {timeout_s - ending_s:g} s and was killed "
                    f"(timeout {timeout_s:g} s, of which {ending_s:g} s are kept for ending it){last}",
                    retryable=True,
                ) from None
            finally:
                await _end_group(process, grace_s=ending_s * 2 / 3)
    return Finished(code, pipes.stdout, pipes.stderr)


@dataclass(slots=True)
class _Pipes:
    """Where the program writes, and what it wrote. Its ends are ours, not asyncio's: a child that
    keeps one open must not keep the program's end from being seen."""

    out_fd: int
    err_fd: int
    stdout: CapturedOutput
    stderr: CapturedOutput

    def close_writers(self) -> None:
        self.out_fd = _closed(self.out_fd)
        self.err_fd = _closed(self.err_fd)


@contextlib.asynccontextmanager
async def _pipes(*, drain_s: float) -> AsyncIterator[_Pipes]:
    """Two pipes, read as they fill; at the end read out, for at most ``drain_s`` seconds."""
    loop = asyncio.get_running_loop()
    transports: list[asyncio.ReadTransport] = []
    closed: list[asyncio.Future[None]] = []
    pipes = _Pipes(-1, -1, CapturedOutput(), CapturedOutput())
    try:
        for output in (pipes.stdout, pipes.stderr):
            read_fd, write_fd = os.pipe()
            if output is pipes.stdout:
                pipes.out_fd = write_fd
            else:
                pipes.err_fd = write_fd
            done: asyncio.Future[None] = loop.create_future()
            closed.append(done)
            transport, _ = await loop.connect_read_pipe(
                partial(_Tap, output, done), os.fdopen(read_fd, "rb", buffering=0)
            )
            transports.append(transport)
        yield pipes
        await asyncio.wait(closed, timeout=drain_s)
    finally:
        pipes.close_writers()
        for transport in transports:
            transport.close()


_GATED = (
    "/bin/sh",
    "-c",
    "read -r go || exit; exec 3>&2 2>/dev/null; echo 500 >/proc/self/oom_score_adj; "
    '("$@" <"$0" 2>&3 3>&-); code=$?; [ $code -gt 128 ] && [ $code -ne 147 ] && kill -$((code - 128)) $$; exit $code',
)
"""The program begins only when it is told to, and not at all when the worker dies before it has told the
guard of it. The shell sees its arguments as arguments only, and stays as the program's parent: one that
kills its parent ends itself, not the worker. A program that a signal ended is told by the same signal, but
for SIGSTOP (147), which ends none and would stop the gate itself. A kernel that is out of memory takes the program before the worker."""
_GATED_BY_PYTHON = """
import os, signal, sys
payload, *argv = sys.argv[1:]
if os.read(0, 3) != b"go\\n":
    os._exit(1)
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
except OSError:
    pass
child = os.fork()
if child == 0:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, for itself
        signal.signal(ignored, signal.SIG_DFL)
    os.dup2(os.open(payload, os.O_RDONLY), 0)
    {forget}
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"{{argv[0]}}: {{error.strerror}}\\n".encode())
        os._exit(126)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if code < 0:
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code % 256)
"""
"""As above, for variables that a shell would not pass on."""
_FORGET = "os.environ.pop('LC_CTYPE', None)  # Python sets it for itself in the C locale (PEP 538)"
_SHELL_KEEPS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _gated(env: Mapping[str, str]) -> tuple[str, ...]:
    """The shell starts ten times faster, but some (dash) drop the variables whose names they can't say
    themselves: where there is one of those, Python keeps the gate."""
    if all(_SHELL_KEEPS.fullmatch(name) for name in env):
        return _GATED
    code = _GATED_BY_PYTHON.format(forget="" if "LC_CTYPE" in env else _FORGET)
    return (sys.executable, "-I", "-S", "-c", code)


@dataclass(slots=True)
class _Gate:
    read_fd: int
    write_fd: int

    def open(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # killed already; its end is seen as any other
            os.write(self.write_fd, b"go\n")
        self.close()

    def close_reader(self) -> None:
        self.read_fd = _closed(self.read_fd)

    def close(self) -> None:
        self.close_reader()
        self.write_fd = _closed(self.write_fd)


@contextlib.asynccontextmanager
async def _gate() -> AsyncIterator[_Gate]:
    gate = _Gate(*os.pipe())
    try:
        yield gate
    finally:
        gate.close()


def _closed(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1


def _check(program: str, env: Mapping[str, str], cwd: str | None) -> None:
    """Raises `HandlerFailure` (final) for what can't be run, in better words than a shell's."""
    if cwd is not None and not Path(cwd).is_dir():
        raise HandlerFailure(f"the working folder {cwd} does not exist", retryable=False)
    place = str(Path(cwd or ".", program)) if "/" in program else program
    try:
        found = shutil.which(place, path=env.get("PATH"))
    except ValueError as error:
        raise HandlerFailure(f"program {program} can't be run: {error}", retryable=False) from None
    if found is None:
        raise HandlerFailure(f"program {program} was not found, or may not be run", retryable=False)


async def _start(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, gate: _Gate, pipes: _Pipes
) -> asyncio.subprocess.Process:
    """The started process, waiting at the gate; our copies of its pipe ends are closed."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=cwd,
            stdin=gate.read_fd,
            stdout=pipes.out_fd,
            stderr=pipes.err_fd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        # Being out of processes, memory or files may pass; a null byte or too long a list won't.
        may_pass = isinstance(error, OSError) and error.errno in _MAY_PASS
        said = error.strerror if isinstance(error, OSError) else error
        raise HandlerFailure(f"the program did not start: {said}", retryable=may_pass) from None
    finally:
        gate.close_reader()
        pipes.close_writers()


async def _end_group(process: asyncio.subprocess.Process, *, grace_s: float) -> None:
    """Ends whatever is left of the program's group, itself included, and reaps it.

    A cancellation in here skips the grace, never the SIGKILL.
    """
    try:
        if _signal_group(process.pid, signal.SIGTERM):
            until = time.monotonic() + grace_s
            while time.monotonic() < until and _signal_group(process.pid, 0):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_POLL_S)
    finally:
        _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: int) -> bool:
    """False when there is nobody left in the group."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
