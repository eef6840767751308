"""One connection to a device through the system's `ssh`, with the user's own settings and keys.

The first process is the master: it checks the host key and asks for passwords, once. All else goes
through its socket. The connection ends with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeopt_host.errors import DeviceError, EdgeoptError, UsageError

# "host:22", which ssh would take for a name.
_WITH_PORT = re.compile(r"([^:/]+):(\d+)")
_TARGET = re.compile(r"[^\s\-\x00-\x1f][^\s\x00-\x1f]*")
_READY = "edgeopt-ready"
# What would let a command through ssh do more, or other, than to run that command.
_OPTIONS = (
    "-T",
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ForwardAgent=no"),
    *("-o", "ForwardX11=no"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
    *("-o", "ConnectTimeout=15"),
    # A dead network is noticed within a minute, also while pip is silent.
    *("-o", "ServerAliveInterval=15"),
    *("-o", "ServerAliveCountMax=4"),
)
_SILENCE = ("timed out", "No route to host", "unreachable", "Host is down")
_LOST = 255  # ssh's own exit code, when the connection and not the command failed
_WORDS = 400


@dataclass(frozen=True)
class Done:
    """How a command on the device ended."""

    code: int
    out: str
    err: str


class Ssh:
    """A device that commands can be run on, from entry to exit."""

    def __init__(self, target: str, port: int | None = None) -> None:
        """Takes USER@HOST, or what else `ssh` and its config know, and SSH's port.

        Raises:
            UsageError: when the target could be anything else than one.
            EdgeoptError: SSH_MISSING, when there is no such program.
        """
        if not _TARGET.fullmatch(target):
            raise UsageError(
                f"{target!r} is no SSH target: use USER@HOST or a name of ssh's config"
            )
        if match := _WITH_PORT.fullmatch(target):
            raise UsageError(
                f"{target!r} is no SSH target: use {match[1]}, and --port {match[2]} for SSH's port"
            )
        self.target = target
        self._prefix = _program()
        self._port = ("-p", str(port)) if port else ()
        self._stack = contextlib.ExitStack()
        self._socket = ""

    def __enter__(self) -> Ssh:  # noqa: PYI034 - Self needs Python 3.11
        with contextlib.ExitStack() as stack:
            # Socket paths hold 107 bytes.
            folder = tempfile.TemporaryDirectory(prefix="edgeopt-ssh-", dir="/tmp")
            self._socket = f"{stack.enter_context(folder)}/s"
            stack.enter_context(self._master())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hostname(self) -> str:
        """The address behind the target, as ssh's config has it.

        Raises:
            EdgeoptError: when ssh cannot tell.
        """
        command = [*self._prefix, *self._port, "-G", self.target]
        done = _finished(command)
        for line in done.out.splitlines():
            key, _, value = line.partition(" ")
            if key == "hostname" and value:
                return value
        raise EdgeoptError(f"ssh -G {self.target} names no host: {_last(done.err)}", "SSH_FAILED")

    def run(
        self,
        command: list[str],
        *,
        stdin: str = "",
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> Done:
        """Runs a command on the device; its words arrive there as they are.

        Args:
            command: a program and its arguments.
            stdin: what it reads.
            feed: instead of `stdin`, writes what it reads.

        Raises:
            DeviceError: when the connection breaks. How the command ends is the caller's to judge.
        """
        # The errors go to a file: who reads two pipes, and writes a third, needs threads.
        with tempfile.TemporaryFile() as errors, self._start(command, errors) as process:
            assert process.stdin is not None  # noqa: S101 - pipes were asked for
            assert process.stdout is not None  # noqa: S101
            try:
                with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                    if feed is not None:
                        feed(pipe)
                    else:
                        pipe.write(stdin.encode())
                out = process.stdout.read().decode(errors="replace")
                code = process.wait()
            except BaseException:
                process.kill()
                raise
            errors.seek(0)
            err = errors.read().decode(errors="replace")
        if code == _LOST:
            raise DeviceError(
                f"the SSH connection to {self.target} broke: {_last(err)}; the same command again "
                f"goes on",
                "SSH_LOST",
            )
        return Done(code, out, err)

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """A private folder on the device, for the length of this."""
        # It goes when the standard input of its shell ends: also when this process is killed.
        script = (
            "d=$(mktemp -d /var/tmp/edgeopt.XXXXXX) || d=$(mktemp -d) || exit; "
            'printf "%s\\n" "$d"; cat >/dev/null; rm -rf "$d"'
        )
        with tempfile.TemporaryFile() as errors:
            process = self._start(["sh", "-c", script], errors)
            assert process.stdin is not None  # noqa: S101 - pipes were asked for
            assert process.stdout is not None  # noqa: S101
            try:
                path = process.stdout.readline().decode().strip()
                if not path:
                    errors.seek(0)
                    why = _last(errors.read().decode(errors="replace"))
                    raise DeviceError(
                        f"{self.target} has no place for a temporary folder: {why}",
                        "DEVICE_DISK_FULL",
                    )
                yield path
            finally:
                process.stdin.close()
                process.wait()
                process.stdout.close()

    def _start(self, command: list[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *self._prefix,
                *_OPTIONS,
                *self._port,
                *("-o", f"ControlPath={self._socket}"),
                # Through the master alone: a second connection would ask for passwords again.
                *("-o", "ControlMaster=no"),
                *("-o", "BatchMode=yes"),
                *("-o", "StrictHostKeyChecking=yes"),
                *("-o", "LogLevel=ERROR"),
                self.target,
                shlex.join(command),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    @contextlib.contextmanager
    def _master(self) -> Iterator[None]:
        # Where nobody can answer, a question would wait for ever.
        asks = sys.stdin.isatty() and sys.stderr.isatty()
        settings = [
            *("-o", f"StrictHostKeyChecking={'ask' if asks else 'yes'}"),
            *("-o", f"BatchMode={'no' if asks else 'yes'}"),
            *("-o", "ControlMaster=yes"),
            *("-o", f"ControlPath={self._socket}"),
            *("-o", "ControlPersist=no"),
            *("-o", "LogLevel=ERROR"),
        ]
        # It lives as long as its command, which ends with this end of its standard input.
        hold = f"echo {_READY}; exec cat >/dev/null"
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self._prefix, *_OPTIONS, *settings, *self._port, self.target, hold],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            assert process.stdin is not None  # noqa: S101 - pipes were asked for
            assert process.stdout is not None  # noqa: S101
            try:
                # A login shell's own words may come first.
                if not any(line.strip() == _READY.encode() for line in process.stdout):
                    process.wait()
                    errors.seek(0)
                    words = errors.read().decode(errors="replace")
                    by_hand = shlex.join([*self._prefix, *self._port, self.target])
                    raise _refusal(self.target, words, by_hand)
                yield
            finally:
                process.stdin.close()
                process.wait()
                process.stdout.close()


def _program() -> list[str]:
    """The command that EDGEOPT_SSH, or this system, has for `ssh`."""
    setting = os.environ.get("EDGEOPT_SSH", "").strip() or "ssh"
    try:
        words = shlex.split(setting)
    except ValueError as error:
        raise UsageError(
            f"EDGEOPT_SSH={setting!r} is no command: {str(error).lower()}; write it as for a shell"
        ) from error
    if shutil.which(words[0]) is None:
        told = ", which EDGEOPT_SSH names," if "EDGEOPT_SSH" in os.environ else ""
        raise EdgeoptError(
            f"{words[0]!r}{told} is not here: install OpenSSH's client (openssh-client)"
            + (", or correct the variable" if told else ""),
            "SSH_MISSING",
        )
    return words


def _finished(command: list[str]) -> Done:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return Done(_LOST, "", f"{Path(command[0]).name}: {error.strerror}")
    return Done(done.returncode, done.stdout, done.stderr)


def _refusal(who: str, words: str, by_hand: str) -> DeviceError:
    """What ssh's own words mean; `by_hand` is what a person would type to connect."""
    host = re.sub(r"^(ssh://)?(.*@)?", "", who)
    if "IDENTIFICATION HAS CHANGED" in words:
        return DeviceError(
            f"{who} shows another host key than the one known here, so it is another device, or "
            f"somebody is in between: if it was reinstalled, remove the old key with "
            f"`ssh-keygen -R {host}` and repeat",
            "SSH_HOST_KEY_CHANGED",
        )
    if "Host key verification failed" in words:
        return DeviceError(
            f"the host key of {who} is not known here: connect once with `{by_hand}`, compare the "
            f"fingerprint that it shows with the device's, and repeat",
            "SSH_HOST_KEY_UNKNOWN",
        )
    if "Permission denied" in words:
        return DeviceError(
            f"{who} lets this user in with none of its keys or passwords: make `{by_hand}` work "
            f"first, such as with `ssh-copy-id {who}`",
            "SSH_DENIED",
        )
    if "Could not resolve hostname" in words:
        return DeviceError(
            f"there is no address for the host of {who}: is the name right, and the device in this "
            f"network?",
            "SSH_UNKNOWN_HOST",
        )
    if "Connection refused" in words:
        return DeviceError(
            f"{who} takes no SSH connections at this port: is its SSH server enabled?",
            "SSH_REFUSED",
        )
    if any(sign in words for sign in _SILENCE):
        return DeviceError(
            f"{who} does not answer: is the device on, and in this network?", "SSH_TIMEOUT"
        )
    return DeviceError(f"no SSH connection to {who}: {_last(words)}", "SSH_FAILED")


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1][:_WORDS] if lines else "it gave no reason"
