"""The device's side of provisioning: runs deploy/linux's scripts there, step by step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import IO, Any

from edgeopt_host.errors import DeviceError
from edgeopt_host.provision import scripts
from edgeopt_host.provision.ssh import Done, Ssh

_REFUSAL = re.compile(r"edgeopt-(?:un)?install: ([A-Z_]+): (.+)")
_WORDS = 600


class Remote:
    """Runs steps of the scripts as the rights of a scope need it: `system` as root, `user` as is."""

    def __init__(self, ssh: Ssh) -> None:
        self.ssh = ssh
        self.scope = "user"
        self._become: tuple[str, ...] = ()
        done = ssh.run(["sh", "-c", "id -u; sudo -n true >/dev/null 2>&1 && echo sudo; true"])
        words = done.out.split()
        self._root = words[:1] == ["0"]
        self._sudo = "sudo" in words
        self._folder: str | None = None

    @property
    def may_be_root(self) -> bool:
        """Whether the SSH user is root, or may become it without a password."""
        return self._root or self._sudo

    def choose(self, scope: str | None) -> None:
        """Sets the scope, or takes `system` where the user may.

        Raises:
            DeviceError: SUDO_NEEDED, when the user may not.
        """
        self.scope = scope or ("system" if self.may_be_root else "user")
        if self.scope == "system" and not self.may_be_root:
            raise DeviceError(
                f"{self.ssh.target} is neither root nor may use sudo without a password, which a "
                f"system service needs: allow it sudo, or install with --user",
                "SUDO_NEEDED",
            )
        self._become = () if self._root or self.scope == "user" else ("sudo", "-n")

    def use(self, folder: str) -> None:
        """From here on scripts are run from this folder on the device, not sent each time."""
        self._folder = folder

    def script(
        self, name: str, arguments: Sequence[str], *, stdin: str = "", may_fail: bool = False
    ) -> Done:
        """Runs a script of deploy/linux, with the option for the scope.

        Raises:
            DeviceError: with the script's own reason when it refuses; INSTALL_FAILED when it fails
                otherwise, unless it `may_fail`.
        """
        if self._folder is None:
            command = [*self._become, "sh", "-s", "--", *arguments]
            done = self.ssh.run(command, stdin=scripts.read(name))
        else:
            command = [*self._become, "sh", f"{self._folder}/{name}", *arguments]
            done = self.ssh.run(command, stdin=stdin)
        if done.code and not may_fail:
            raise self._failure(done)
        return done

    def install(self, step: str, *arguments: str) -> Done:
        """A step of install.sh."""
        return self.script(scripts.INSTALL, [step, f"--{self.scope}", *arguments])

    def agent(self, *arguments: str, stdin: str = "") -> str:
        """What `edgeopt-agent` prints, run as the service's user on the service's state."""
        words = ["agent", f"--{self.scope}", "--", *arguments]
        return self.script(scripts.INSTALL, words, stdin=stdin).out

    def identity(self) -> dict[str, Any]:
        """What the agent that is installed there says of its identity; empty when it cannot."""
        words = ["agent", f"--{self.scope}", "--", "identity", "show"]
        done = self.script(scripts.INSTALL, words, may_fail=True)
        try:
            shown = json.loads(done.out)
        except ValueError:
            return {}
        return shown if isinstance(shown, dict) else {}

    def receive(self, command: Sequence[str], write: Callable[[IO[bytes]], None]) -> None:
        """Runs a command that reads what `write` writes into a pipe."""
        done = self.ssh.run(list(command), feed=write)
        if done.code:
            raise self._failure(done)

    def _failure(self, done: Done) -> DeviceError:
        lines = [line.strip() for line in done.err.splitlines() if line.strip()]
        for line in reversed(lines):
            if match := _REFUSAL.search(line):
                return DeviceError(f"{self.ssh.target}: {match[2]}", match[1])
        why = "; ".join(lines[-2:])[-_WORDS:] or f"it ended with {done.code} and gave no reason"
        return DeviceError(f"{self.ssh.target}: {why}", "INSTALL_FAILED")
