"""What each handler does with success, failure, hanging, and hostile programs and answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.durable.handlers import HandlerCall, HandlerFailure, Handlers
from runtime.durable.handlers.base import RESULT_MAX
from runtime.lane.lane_file import Family
from runtime.model import Failure, Outcome
from tests.durable import sample_calls
from tests.durable.rig import a_request, eventually
from tests.tls import Authority


@pytest.fixture
async def handlers() -> AsyncIterator[Handlers]:
    async with Handlers() as handlers:
        yield handlers


def a_call(payload: str = '{"n": 21}', **family: Any) -> HandlerCall:
    return HandlerCall(a_request("a/b", payload), Family.model_validate(family), Path(__file__).parent)


def a_command(*argv: str, timeout: str = "20s", **more: Any) -> HandlerCall:
    return a_call(handler="command", command=list(argv), timeout=timeout, **more)


def alive(pid: int) -> bool:
    """A killed orphan stays a zombie where nobody reaps; it runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- command ----------------------------------------------------------------


async def test_no_part_of_a_secret_is_kept_wherever_it_is_cut(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-A1b2C3d4E5f6G7h8\nMIIEvQIBADANBgkq"
    monkeypatch.setenv("LONG_SECRET", secret)
    tell = "import os,sys; s=os.environ['S']; "
    cases = {
        "failure": tell + "sys.stderr.write('x' * 290 + s.splitlines()[0]); sys.exit(1)",
        "line": tell + "sys.stderr.write(s); sys.exit(1)",
        "cut": tell + "sys.stdout.write('x' * 4090 + s.splitlines()[0] + 'y' * 9000)",
    }
    for code in cases.values():
        call = a_command(sys.executable, "-c", code, env={"S": {"env": "LONG_SECRET"}}, retry={"tries": 1})
        try:
            kept = (await handlers.run(call)).decode()
        except HandlerFailure as failure:
            kept = failure.message
        assert "sk-A" not in kept and "MIIE" not in kept, kept


async def test_a_python_function_that_exits_fails_and_takes_no_worker_with_it(handlers: Handlers) -> None:
    for function in ("exits", "exits_async", "interrupts"):
        call = a_call(handler="python", call=f"sample_calls:{function}", timeout="20s")
        with pytest.raises(HandlerFailure, match="(?i)exit|interrupt"):
            await handlers.run(call)


async def test_a_function_runs_apart_where_it_may_end_its_process(handlers: Handlers) -> None:
    call = a_call(handler="python", call="sample_calls:double_inside")
    apart = json.loads(await handlers.run(replace(call, apart=True)))
    assert apart["doubled"] == 42
    assert apart["pid"] != os.getpid()


@pytest.mark.parametrize("env", [{}, {"a.b": "1", "with-hyphen": "2"}], ids=["shell's gate", "Python's gate"])
async def test_a_command_s_parent_is_not_the_worker_and_a_signal_is_told_as_one(
    handlers: Handlers, env: dict[str, str]
) -> None:
    for script, how in (
        ("kill -9 $PPID; sleep 30", "sh was ended by SIGKILL"),
        ("kill -15 $PPID; sleep 30", "sh was ended by SIGTERM"),
        ("kill -9 $$", "sh was ended by SIGKILL"),
        ("kill -15 $$", "sh was ended by SIGTERM"),
        ("kill -2 $$", "sh was ended by SIGINT"),
        ("kill -13 $$", "sh was ended by SIGPIPE"),
        ("echo why >&2; exit 3", "sh exited with 3: why"),
        ("no-such-program", "sh exited with 127: sh: 1: no-such-program: not found"),
        ("exit 147", "sh exited with 147"),  # 128 + SIGSTOP, which ends nothing: the gate must not stop by it
    ):
        with pytest.raises(HandlerFailure) as failure:
            await handlers.run(a_command("sh", "-c", script, env=env))
        assert failure.value.message == how, script


async def test_both_gates_give_the_program_the_same_surroundings(handlers: Handlers) -> None:
    """Whichever stands before it: variables, payload, signals, open files and its place at a memory's end."""
    code = (
        "import json, os, sys; status = dict(line.split(':\\t') for line in open('/proc/self/status'))\n"
        "print(json.dumps({'ignored': status['SigIgn'].strip(), 'blocked': status['SigBlk'].strip(),"
        " 'oom': open('/proc/self/oom_score_adj').read().strip(), 'files': sorted(os.listdir('/proc/self/fd')),"
        " 'leads': os.getsid(0) == os.getppid() == os.getpgid(0), 'payload': sys.stdin.read(),"
        " 'odd': {name: os.environ.get(name) for name in ('a.b', 'with-hyphen')}}))"
    )
    told = [
        json.loads(
            json.loads(await handlers.run(a_command(sys.executable, "-I", "-c", code, env=env)))["stdout"]
        )
        for env in ({}, {"a.b": "1", "with-hyphen": "2"})
    ]
    assert [one.pop("odd") for one in told] == [
        {"a.b": None, "with-hyphen": None},
        {"a.b": "1", "with-hyphen": "2"},
    ]
    assert told[0] == told[1]
    assert told[0]["oom"] == "500"
    assert told[0]["leads"] and told[0]["payload"] == '{"n": 21}'


@pytest.mark.parametrize("env", [{}, {"a.b": "1"}], ids=["shell's gate", "Python's gate"])
async def test_a_pipe_that_nobody_reads_ends_a_program(handlers: Handlers, env: dict[str, str]) -> None:
    """Ignored signals are inherited; Python ignores two of them, and `yes` would say "Broken pipe"."""
    told = json.loads(await handlers.run(a_command("grep", "SigIgn", "/proc/self/status", env=env)))
    ignored = int(told["stdout"].split()[1], 16)
    assert [name for name in ("SIGPIPE", "SIGXFSZ") if ignored >> (signal.Signals[name] - 1) & 1] == []


async def test_a_replayed_attempt_is_told_what_failed_before(handlers: Handlers) -> None:
    """In a file, as the payload is: a text of any size fits."""
    call = a_command("sh", "-c", 'cat "$JOELCLAW_FAILURES"')
    failures = (Failure(1, Outcome.FAILED, "it said \x1b no", 5.0),)
    retold = HandlerCall(replace(call.request, attempt=2, failures=failures), call.family, call.lane_dir)
    result = json.loads(await handlers.run(retold))
    assert json.loads(result["stdout"]) == [{"attempt": 1, "outcome": "failed", "message": "it said \x1b no"}]


async def test_a_command_gets_its_payload_both_ways_and_a_small_environment(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOELCLAW_GATEWAY_TOKEN", "worker's own secret")
    monkeypatch.setenv("THE_KEY", "s3cret-value")
    script = (
        "import json,os,stat,sys; p=os.environ['JOELCLAW_PAYLOAD']; "
        "print(json.dumps({'stdin': sys.stdin.read(), 'file': open(p).read(), "
        "'mode': stat.S_IMODE(os.stat(p).st_mode), 'env': sorted(os.environ), 'key': len(os.environ['KEY'])}))"
    )
    call = a_command(sys.executable, "-c", script, env={"KEY": {"env": "THE_KEY"}, "PLAIN": "1"})
    result = json.loads(await handlers.run(call))
    told = json.loads(result["stdout"])
    assert told["stdin"] == told["file"] == '{"n": 21}'
    assert told["mode"] == 0o600
    assert told["key"] == len("s3cret-value")
    allowed = {
        "PATH",
        "HOME",
        "LANG",
        "LC_CTYPE",
        "KEY",
        "PLAIN",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }  # some a shell's
    names = {"FAILURES", "PAYLOAD", "RUN_ID", "ITEM_ID", "ATTEMPT", "FAMILY"}
    assert set(told["env"]) <= allowed | {f"JOELCLAW_{name}" for name in names}


ODD = {"my.dotted": "1", "MY-DASH": "2", "größe": "3", "1st": "4", "with space": "5", "PLAIN": "6"}


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
async def test_variables_arrive_whatever_their_names_are(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    """A shell that stands between drops those that it can't say itself."""
    monkeypatch.setenv("LANG", locale)
    monkeypatch.setenv("THE_KEY", "s3cret-value")
    declared = {**ODD, "secret.key": {"env": "THE_KEY"}, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "ascii"}
    family = a_command("cat", "/proc/self/environ", env=declared)
    told = dict(
        one.split("=", 1) for one in json.loads(await handlers.run(family))["stdout"].split("\0") if one
    )
    assert {name: told.get(name) for name in ODD} == ODD
    assert told["secret.key"] == "***"
    assert set(told) - set(declared) <= {
        "PATH",
        "HOME",
        "LANG",
        *(n for n in told if n.startswith("JOELCLAW_")),
    }
    for function in ("surroundings", "surroundings_async"):
        call = a_call('["é"]', handler="python", call=f"tests.durable.sample_calls:{function}", env=declared)
        result = json.loads(await handlers.run(call))
        assert result["payload"] == ["é"]
        assert {name: result["env"].get(name) for name in ODD} == ODD
        assert result["env"]["secret.key"] == "***"


async def test_a_program_behind_pythons_gate_waits_for_it_too(handlers: Handlers) -> None:
    call = a_command("sh", "-c", "cat; echo; exit 7", env={"a.b": "1"})
    with pytest.raises(HandlerFailure, match=r'sh exited with 7: \{"n": 21\}'):
        await handlers.run(call)
    with pytest.raises(HandlerFailure, match="was not found") as failure:
        await handlers.run(a_command("no-such-program-anywhere", env={"a.b": "1"}))
    assert not failure.value.retryable


async def test_a_program_ignores_the_same_signals_behind_either_gate(handlers: Handlers) -> None:
    ignored = [
        json.loads(await handlers.run(a_command("grep", "SigIgn", "/proc/self/status", env=env)))["stdout"]
        for env in ({}, {"a.b": "1"})
    ]
    assert ignored[0] == ignored[1]


async def test_a_familys_own_python_path_comes_after_the_handlers(handlers: Handlers, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "only_there.py").write_text("def f(payload):\n    return payload\n")
    call = a_call("[1]", handler="python", call="only_there:f", env={"PYTHONPATH": str(tmp_path)})
    assert await handlers.run(call) == b"[1]"


async def test_the_payloads_file_is_there_for_what_runs_in_the_background_until_the_try_ends(
    handlers: Handlers, tmp_path: Path
) -> None:
    """Nobody else may read it, in a folder that nobody else may enter; then both are gone."""
    seen = tmp_path / "seen"
    script = (
        f'(sleep 0.2; cat "$JOELCLAW_PAYLOAD" "$JOELCLAW_FAILURES"; echo; stat -c %a:%u "$JOELCLAW_PAYLOAD" '
        f'"$JOELCLAW_FAILURES" "$(dirname "$JOELCLAW_PAYLOAD")"; echo "$JOELCLAW_PAYLOAD") > {seen} & wait'
    )
    await handlers.run(a_command("sh", "-c", script))
    payload, *modes, path = seen.read_text().splitlines()
    assert payload == '{"n": 21}[]'
    assert modes == [f"{mode}:{os.getuid()}" for mode in (600, 600, 700)]
    assert not Path(path).parent.exists()


async def test_a_payload_that_no_variable_could_hold_arrives(handlers: Handlers) -> None:
    text = json.dumps("x" * 300_000)
    call = a_call(text, handler="command", command=["sh", "-c", 'cmp - "$JOELCLAW_PAYLOAD" && wc -c < "$JOELCLAW_PAYLOAD"'], timeout="20s")  # fmt: skip
    assert json.loads(await handlers.run(call))["stdout"].strip() == str(len(text))


async def test_a_secret_never_comes_back_in_a_result_or_an_error(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret-value")
    env = {"KEY": {"env": "THE_KEY"}}
    shown = await handlers.run(a_command("sh", "-c", "echo key=$KEY", env=env))
    assert b"s3cret" not in shown
    assert b"key=***" in shown
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_command("sh", "-c", "echo $KEY >&2; exit 1", env=env))
    assert failure.value.message == "sh exited with 1: ***"


async def test_a_secret_that_is_not_set_is_final_and_named(handlers: Handlers) -> None:
    with pytest.raises(HandlerFailure, match="NO_SUCH_SECRET") as failure:
        await handlers.run(a_command("true", env={"KEY": {"env": "NO_SUCH_SECRET"}}))
    assert not failure.value.retryable


async def test_a_failing_command_says_its_last_line_cleaned(handlers: Handlers) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(
            a_command("sh", "-c", r"echo first >&2; printf '\033]0;owned\007\033[31mlast\n' >&2; exit 3")
        )
    assert failure.value.retryable
    assert failure.value.message.startswith("sh exited with 3: ")
    assert "last" in failure.value.message
    assert "\x1b" not in failure.value.message


@pytest.mark.parametrize(
    "argv", [("no-such-program-anywhere",), ("sh", "-c", "exit 127"), ("sh", "-c", "exit 126")]
)
async def test_a_program_that_can_not_be_run_is_final(handlers: Handlers, argv: tuple[str, ...]) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_command(*argv))
    assert not failure.value.retryable


async def test_a_missing_working_folder_is_final_and_named(handlers: Handlers) -> None:
    with pytest.raises(HandlerFailure, match="/no/such/folder") as failure:
        await handlers.run(a_command("true", cwd="/no/such/folder"))
    assert not failure.value.retryable


async def test_a_command_that_hangs_is_ended_with_its_whole_group(handlers: Handlers, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # Both ignore SIGTERM, so only the SIGKILL of the group ends them.
    script = f"trap '' TERM; sleep 600 & echo $$ $! > {pids}; wait; sleep 600"
    began = asyncio.get_running_loop().time()
    kept = r"after 0.75 s and was killed \(timeout 1 s, of which 0.25 s are kept for ending it\)"
    with pytest.raises(HandlerFailure, match=kept) as failure:
        await handlers.run(a_command("sh", "-c", script, timeout="1s"))
    assert failure.value.retryable
    assert asyncio.get_running_loop().time() - began < 1.5
    main, child = map(int, pids.read_text().split())
    await eventually(lambda: not alive(main) and not alive(child), 2)


async def test_children_that_a_command_leaves_behind_are_gone_and_hold_nothing(
    handlers: Handlers, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    async with asyncio.timeout(10):
        result = json.loads(
            await handlers.run(a_command("sh", "-c", f"echo done; sleep 600 & echo $! > {pid}"))
        )
    assert result["stdout"] == "done\n"
    await eventually(lambda: not alive(int(pid.read_text())), 5)


async def test_a_child_that_escaped_its_group_and_keeps_the_pipe_does_not_hold_the_try(
    handlers: Handlers, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    script = f"import os,time\nprint('done', flush=True)\nif os.fork() == 0:\n os.setsid(); open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)\nimport pathlib\nwhile not pathlib.Path({str(pid)!r}).exists(): time.sleep(.01)"
    try:
        async with asyncio.timeout(10):
            result = json.loads(await handlers.run(a_command(sys.executable, "-c", script)))
        assert result["stdout"] == "done\n"
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


async def test_arguments_are_arguments_and_never_a_shells(handlers: Handlers) -> None:
    hostile = ["$(touch /tmp/never)", "; exit 9", "'\"", "", "-n", "`id`"]
    script = "import json,sys; print(json.dumps(sys.argv[1:]))"
    result = json.loads(await handlers.run(a_command(sys.executable, "-c", script, *hostile)))
    assert json.loads(result["stdout"]) == hostile


async def test_a_cancelled_command_is_killed_before_the_cancellation_goes_on(
    handlers: Handlers, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    task = asyncio.create_task(
        handlers.run(a_command("sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"))
    )
    await eventually(pid.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(int(pid.read_text()))


async def test_endless_output_is_cut_to_its_head_and_tail(handlers: Handlers) -> None:
    script = "import sys; print('HEAD'); [sys.stdout.write('x'*1000) for _ in range(20000)]; print('TAIL')"
    result = json.loads(await handlers.run(a_command(sys.executable, "-c", script)))
    assert result["stdout"].startswith("HEAD\n")
    assert result["stdout"].endswith("TAIL\n")
    assert "bytes left out" in result["stdout"]
    assert result["stdout_bytes"] == 20_000_000 + 10
    assert len(json.dumps(result)) <= RESULT_MAX


async def test_no_private_folder_is_left_behind(
    handlers: Handlers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    await handlers.run(a_command("true"))
    with pytest.raises(HandlerFailure):
        await handlers.run(a_command("false"))
    assert not any(tmp_path.glob("*"))  # noqa: ASYNC240 - a test may look


# --- python -----------------------------------------------------------------


async def test_a_plain_function_runs_in_a_process_of_its_own(handlers: Handlers) -> None:
    call = a_call(handler="python", call="tests.durable.sample_calls:double")
    result = json.loads(await handlers.run(call))
    assert result["doubled"] == 42
    assert result["pid"] != os.getpid()
    assert result["run"] == call.request.run_id


async def test_an_async_function_runs_in_the_worker(handlers: Handlers) -> None:
    result = json.loads(
        await handlers.run(a_call(handler="python", call="tests.durable.sample_calls:double_inside"))
    )
    assert result == {"doubled": 42, "pid": os.getpid()}


async def test_a_module_beside_the_lane_file_is_found(handlers: Handlers, tmp_path: Path) -> None:
    (tmp_path / "beside_the_lane.py").write_text("def f(payload):\n    return payload\n")
    family = Family.model_validate({"handler": "python", "call": "beside_the_lane:f"})
    assert await handlers.run(HandlerCall(a_request("a/b", "[1]"), family, tmp_path)) == b"[1]"


@pytest.mark.parametrize(
    ("function", "says", "retryable"),
    [
        ("tests.durable.sample_calls:raises", "ValueError", True),
        ("tests.durable.sample_calls:cancels_its_own", "CancelledError", True),
        ("tests.durable.sample_calls:leaves", "exited with 7", True),
        ("tests.durable.sample_calls:not_json", "not JSON", False),
        ("tests.durable.sample_calls:absent", "has no function absent", False),
        ("no_such_module:f", "does not import", False),
    ],
)
async def test_what_a_function_does_wrong_is_said(
    handlers: Handlers, function: str, says: str, retryable: bool
) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_call(handler="python", call=function))
    assert says in failure.value.message
    assert failure.value.retryable is retryable
    assert "\x1b" not in failure.value.message
    assert "\n" not in failure.value.message


async def test_a_cancelled_function_of_the_worker_ends_as_cancelled(handlers: Handlers) -> None:
    call = a_call(handler="python", call="tests.durable.sample_calls:hangs_inside")
    task = asyncio.create_task(handlers.run(call))
    await eventually(lambda: bool(sample_calls.INSIDE))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("function", ["hangs", "hangs_inside"])
async def test_a_function_that_hangs_is_ended(handlers: Handlers, function: str) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(
            a_call(handler="python", call=f"tests.durable.sample_calls:{function}", timeout="1500ms")
        )
    assert failure.value.retryable


async def test_a_large_result_is_cut_with_a_note(handlers: Handlers) -> None:
    text = await handlers.run(a_call(handler="python", call="tests.durable.sample_calls:huge"))
    assert len(text) <= RESULT_MAX
    result = json.loads(text)
    assert result["truncated"] is True
    assert result["bytes"] > 1_000_000


# --- http -------------------------------------------------------------------


class Target:
    """A server that answers as it is told and keeps what it got."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answer = web.Response(text="thanks")
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((dict(request.headers), await request.read()))
        if request.path == "/hang":
            await asyncio.sleep(600)
        if request.path == "/endless":
            stream = web.StreamResponse()
            await stream.prepare(request)
            while True:
                await stream.write(b"x" * 65536)
        return web.Response(
            status=int(request.path.strip("/")), text="\x1b[31msaid", headers={"Location": "/200"}
        )


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", target.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield target
    await runner.cleanup()


async def test_http_sends_the_payload_with_one_key_for_all_tries(handlers: Handlers, target: Target) -> None:
    call = a_call(
        handler="http", url=f"{target.url}/201", headers={"X-Own": "1", "Idempotency-Key": "forged"}
    )
    for _ in range(2):
        assert json.loads(await handlers.run(call))["status"] == 201
    for headers, body in target.requests:
        assert body == b'{"n": 21}'
        assert headers["Idempotency-Key"] == call.request.run_id
        assert headers["X-Joelclaw-Item"] == call.request.item_id
        assert headers["X-Joelclaw-Attempt"] == "1"
        assert headers["X-Joelclaw-Family"] == "a/b"
        assert headers["X-Own"] == "1"


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (500, True),
        (503, True),
        (408, True),
        (425, True),
        (429, True),
        (400, False),
        (404, False),
        (302, False),
    ],
)
async def test_only_2xx_is_success(handlers: Handlers, target: Target, status: int, retryable: bool) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_call(handler="http", url=f"{target.url}/{status}?token=hidden"))
    assert f"answered HTTP {status}" in failure.value.message
    assert failure.value.retryable is retryable
    assert len(target.requests) == 1
    assert "\x1b" not in failure.value.message
    assert "hidden" not in failure.value.message


async def test_http_that_hangs_ends_at_its_timeout(handlers: Handlers, target: Target) -> None:
    with pytest.raises(HandlerFailure, match="no end within its timeout of 0.3 s") as failure:
        await handlers.run(a_call(handler="http", url=f"{target.url}/hang", timeout="300ms"))
    assert failure.value.retryable


async def test_http_reads_an_endless_answer_to_a_bound(handlers: Handlers, target: Target) -> None:
    result = json.loads(
        await handlers.run(a_call(handler="http", url=f"{target.url}/endless", timeout="10s"))
    )
    assert result["truncated"] is True
    assert len(result["body"]) == 8 * 1024


async def test_http_to_nobody_is_tried_again(handlers: Handlers) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_call(handler="http", url="http://127.0.0.1:9/x"))
    assert failure.value.retryable


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[str]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text="never")

    app = web.Application()
    app.router.add_route("*", "/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/?token=hidden"
    finally:
        await runner.cleanup()


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "self-signed.pem"
    plain = serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_certificate_that_is_refused_is_tried_again_and_says_why(
    handlers: Handlers, tmp_path: Path
) -> None:
    cases = {
        "self-signed certificate": self_signed(tmp_path),
        "unable to get local issuer certificate": Authority(tmp_path).server("127.0.0.1"),
    }
    for why, context in cases.items():
        async with tls_server(context) as url:
            with pytest.raises(HandlerFailure) as failure:
                await handlers.run(a_call(handler="http", url=url))
        assert failure.value.message == f"POST {url.partition('?')[0]}: certificate refused: {why}"
        assert failure.value.retryable


async def test_tls_to_a_server_that_speaks_none_is_tried_again(handlers: Handlers, target: Target) -> None:
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_call(handler="http", url=target.url.replace("http:", "https:")))
    assert failure.value.retryable


@pytest.mark.parametrize("value", ["a\r\nX-More: 1", "a\nb", "caf\u00e9", "nul\0l", "x" * 9000])
async def test_a_value_from_the_environment_that_can_not_be_sent_is_final_and_not_told(
    handlers: Handlers, target: Target, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    if "\0" in value:
        monkeypatch.setattr(os, "environ", {**os.environ, "TOKEN_VALUE": value})
    else:
        monkeypatch.setenv("TOKEN_VALUE", value)
    headers = {"X-Token": {"env": "TOKEN_VALUE"}}
    with pytest.raises(HandlerFailure) as failure:
        await handlers.run(a_call(handler="http", url=f"{target.url}/200", headers=headers))
    assert failure.value.message.startswith("header X-Token can't be sent: it ")
    assert value not in failure.value.message
    assert not failure.value.retryable
    assert target.requests == []


async def test_a_header_that_is_declared_takes_the_place_of_ours_in_any_case(
    handlers: Handlers, target: Target
) -> None:
    headers = {"content-type": "text/plain", "idempotency-key": "forged", "host": "virtual.example"}
    call = a_call(handler="http", url=f"{target.url}/200", headers=headers)
    await handlers.run(call)
    ((sent, _),) = target.requests
    lower = [name.lower() for name in sent]
    assert len(lower) == len(set(lower))
    told = {name.lower(): value for name, value in sent.items()}
    assert (told["content-type"], told["host"]) == ("text/plain", "virtual.example")
    assert told["idempotency-key"] == call.request.run_id


async def test_noop_gives_nothing(handlers: Handlers) -> None:
    assert await handlers.run(a_call(handler="noop")) == b"null"
