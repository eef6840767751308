"""A real SSH server for tests: on loopback, with keys, settings and a home folder of its own."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import time
from pathlib import Path

CACHE = Path(os.environ.get("EDGEOPT_CACHE") or Path.home() / ".cache" / "edgeopt")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Client:
    """What a user of `ssh` has: a config, a key, known hosts. `board` is the name of the device."""

    def __init__(self, folder: Path, port: int, user: str) -> None:
        self.folder, self.port = folder, port
        self.key = folder / "id"
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "config"
        new_key(self.key)
        self.config.write_text(
            f"Host board\n HostName 127.0.0.1\n Port {port}\n User {user}\n"
            f" IdentityFile {self.key}\n IdentitiesOnly yes\n IdentityAgent none\n"
            f" UserKnownHostsFile {self.known_hosts}\n GlobalKnownHostsFile none\n"
        )

    @property
    def command(self) -> str:
        """For EDGEOPT_SSH."""
        return f"ssh -F {self.config}"

    def trust(self, host_key: Path) -> None:
        kind, key, *_ = host_key.with_suffix(".pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")


class Sshd:
    """A server whose sessions see `home` as their home."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.home = folder / "device home"
        self.home.mkdir()
        self.host_key = folder / "host_key"
        new_key(self.host_key)
        self.client = Client(folder, free_port(), getpass.getuser())
        self.client.trust(self.host_key)
        (folder / "authorized_keys").write_text(self.client.key.with_suffix(".pub").read_text())
        self._config = folder / "sshd_config"
        self._config.write_text(
            f"Port {self.client.port}\nListenAddress 127.0.0.1\nHostKey {self.host_key}\n"
            f"PidFile none\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
            "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\n"
            f'SetEnv "HOME={self.home}" "PIP_CACHE_DIR={CACHE}/pip"\n{settings}\n'
        )

    def __enter__(self) -> Sshd:  # noqa: PYI034 - Self needs Python 3.11
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e", "-f", str(self._config)],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        wait_for_port(self.client.port, self._process)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def wait_for_port(port: int, server: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_open(port):
        assert server.poll() is None, f"the server ended with {server.returncode}"
        assert time.monotonic() < deadline, f"nothing listens at port {port}"
        time.sleep(0.1)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
