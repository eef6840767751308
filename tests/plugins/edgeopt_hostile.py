"""What a model may attempt against the device that opened it.

An attempt is a name and an argument; its outcome is "done", with what came of it, or the error.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
# x86_64, aarch64
_COLUMN = 0 if os.uname().machine == "x86_64" else 1
_CALLS = {
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "clone3": (435, 435),
    "pidfd_open": (434, 434),
    "process_vm_readv": (310, 270),
    "reboot": (169, 142),
    "shmget": (29, 194),
    # x32, the same calls under other numbers: getpid. On arm64, socket once more.
    "x32": (0x40000000 | 39, 198),
}
_PTRACE_ATTACH = 16


def attempt(line: str) -> str:
    """Does what a line says."""
    name, _, argument = line.partition(" ")
    try:
        return f"done {_ATTEMPTS[name](argument) or ''}".strip()
    except Exception as error:  # noqa: BLE001 - whatever refuses, its words are the outcome
        return f"{type(error).__name__}: {error}"


def _socket(argument: str) -> None:
    family, kind = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM),
        "tcp6": (socket.AF_INET6, socket.SOCK_STREAM),
        "udp": (socket.AF_INET, socket.SOCK_DGRAM),
        "raw": (socket.AF_INET, socket.SOCK_RAW),
        "netlink": (socket.AF_NETLINK, socket.SOCK_RAW),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    }[argument]
    socket.socket(family, kind).close()


def _connect(argument: str) -> None:
    with socket.create_connection(("127.0.0.1", int(argument)), timeout=5):
        pass


def _connect_unix(argument: str) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(argument)


def _write(argument: str) -> None:
    with Path(argument).open("r+b" if Path(argument).is_file() else "wb") as file:
        file.write(b"owned")


def _scratch(_: str) -> str:
    Path("a/b").mkdir(parents=True)
    Path("a/b/c").write_text("mine")
    Path("a/b/c").rename("a/d")
    Path("a").chmod(0)
    return str(Path.cwd())


def _fork(_: str) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _spawn(_: str) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)


def _ptrace(argument: str) -> None:
    _checked(_LIBC.ptrace(_PTRACE_ATTACH, int(argument), None, None))


def _prlimit(argument: str) -> None:
    resource.prlimit(int(argument), resource.RLIMIT_NOFILE, (16, 16))


def _nice(argument: str) -> None:
    os.setpriority(os.PRIO_PROCESS, int(argument), 19)


def _ionice(argument: str) -> None:
    number = (251, 30)[_COLUMN]
    idle = 3 << 13
    _checked(_LIBC.syscall(ctypes.c_long(number), 1, int(argument), idle))


def _policy(argument: str) -> None:
    os.sched_setscheduler(int(argument), os.SCHED_IDLE, os.sched_param(0))


def _bind_a_thread(_: str) -> str:
    # As OpenMP binds those that it has started: by their own numbers.
    bound: list[int] = []

    def run() -> None:
        number = threading.get_native_id()
        os.sched_setaffinity(number, {min(os.sched_getaffinity(0))})
        bound.append(len(os.sched_getaffinity(number)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return str(bound[0])


def _outlive(_: str) -> None:
    _checked(_LIBC.prctl(1, 0, 0, 0, 0))


def _nest(argument: str) -> str:
    """Folders deeper than recursion goes, closed to their owner."""
    home = Path.cwd()
    for _ in range(int(argument)):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
        Path("file").touch()
    Path("../" + "d" * 200).chmod(0)
    os.chdir(home)
    return ""


def _call(argument: str) -> None:
    number = _CALLS[argument][_COLUMN]
    _checked(_LIBC.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0))


def _threads(_: str) -> str:
    started = []
    threads = [threading.Thread(target=started.append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return str(len(started))


def _file(argument: str) -> None:
    with Path("large").open("wb") as file:
        file.seek(int(argument) - 1)
        file.write(b"\0")


def _signals(_: str) -> str:
    # As abort() and a profiler's timer do.
    os.kill(os.getpid(), 0)
    return "own"


def _capabilities(_: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapEff"))


def _processes(_: str) -> str:
    return str(sum(path.name.isdecimal() for path in Path("/proc").iterdir()))


def _inherited(_: str) -> str:
    """What open descriptors lead to, beside the standard ones."""
    here = [path for path in list(Path("/proc/self/fd").iterdir()) if int(path.name) > 2]
    return " ".join(sorted(str(path.readlink()) for path in here if path.is_symlink()))


def _environment(argument: str) -> str:
    return os.environ.get(argument, "unset")


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_ATTEMPTS: dict[str, Callable[[str], str | None]] = {
    "socket": _socket,
    "connect": _connect,
    "connect-unix": _connect_unix,
    "read": lambda path: Path(path).read_text()[:20],
    "list": lambda path: " ".join(entry.name for entry in Path(path).iterdir())[:50],
    "write": _write,
    "link": lambda path: os.link(path, "linked"),
    "scratch": _scratch,
    "fork": _fork,
    "spawn": _spawn,
    "exec": lambda path: os.execv(path, [path]),  # noqa: S606 - it must not come to this
    "kill": lambda pid: os.kill(int(pid), 0),
    "ptrace": _ptrace,
    "prlimit": _prlimit,
    "nice": _nice,
    "ionice": _ionice,
    "policy": _policy,
    "affinity": lambda pid: os.sched_setaffinity(int(pid), {min(os.sched_getaffinity(0))}),
    "affinity-now": lambda _: " ".join(map(str, sorted(os.sched_getaffinity(0)))),
    "priority-now": lambda _: f"{os.getpriority(os.PRIO_PROCESS, 0)} {os.sched_getscheduler(0)}",
    "bind-a-thread": _bind_a_thread,
    "outlive": _outlive,
    "nest": _nest,
    "call": _call,
    "threads": _threads,
    "file": _file,
    "signals": _signals,
    "capabilities": _capabilities,
    "processes": _processes,
    "inherited": _inherited,
    "environment": _environment,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "chroot": os.chroot,
    "abstract": lambda name: _connect_unix("\0" + name),
    "socketpair": lambda _: [end.close() for end in socket.socketpair()] and "",
    "limit": lambda name: struct.pack("q", resource.getrlimit(getattr(resource, name))[1]).hex(),
}
