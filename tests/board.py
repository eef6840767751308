"""A board of its own for tests: a container that boots systemd, with an SSH server on loopback.

It has this machine's /usr, read-only, and an /etc, /opt and /var of its own. It needs root, as
systemd-nspawn does, and the packages systemd-container, dbus, openssh-server and python3-venv.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from sshd import Client, free_port, is_open, new_key, wait_for_port

# What programs in /usr look for there; no keys, no passwords.
_ETC = (
    "alternatives", "dbus-1", "debian_version", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "login.defs", "nsswitch.conf", "pam.d", "python3", "python3.11", "python3.12",
    "python3.13", "security", "group", "passwd",
)  # fmt: skip
_SSHD = """\
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/edgeopt-test/sshd_config
RuntimeDirectory=sshd
[Install]
WantedBy=multi-user.target
"""


class Board:
    """Boots on entry, and goes on exit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.client = Client(folder, free_port(), "root")
        # systemd's names of control groups must not meet.
        self.name = f"edgeopt-test-{os.getpid()}"
        self._make()

    def __enter__(self) -> Board:  # noqa: PYI034 - Self needs Python 3.11
        self._boot()
        return self

    def __exit__(self, *_: object) -> None:
        self._cut()
        shutil.rmtree(self.root, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path("/run/systemd/nspawn/propagate", self.name).rmdir()

    def restart(self) -> None:
        """As a power cut does."""
        self._cut()
        self._boot()

    def run(self, *command: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """A command on the board, over SSH."""
        ssh = [*self.client.command.split(), f"{user}@board", *command]
        return subprocess.run(
            ssh, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def _make(self) -> None:
        for name in ("etc/systemd/system/multi-user.target.wants", "etc/edgeopt-test", "usr"):
            (self.root / name).mkdir(parents=True)
        for name in ("home", "opt", "proc", "root", "run", "sys", "tmp", "var/tmp"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if (Path("/") / name).is_symlink():
                (self.root / name).symlink_to((Path("/") / name).readlink())
        etc = self.root / "etc"
        for name in _ETC:
            place = Path("/etc") / name
            if place.is_dir():
                shutil.copytree(place, etc / name, symlinks=True)
            elif place.exists():
                shutil.copy2(place, etc / name, follow_symlinks=False)
        users = [line.partition(":")[0] for line in (etc / "passwd").read_text().splitlines()]
        (etc / "shadow").write_text("".join(f"{user}:*:19000::::::\n" for user in users))
        (etc / "machine-id").write_text(os.urandom(16).hex() + "\n")
        (etc / "hostname").write_text("board\n")
        (etc / "hosts").write_text("127.0.0.1 localhost board\n")
        (etc / "fstab").write_text("")
        # systemd-nspawn reads it before /usr is there, where it usually lies.
        (etc / "os-release").write_text(Path("/etc/os-release").read_text())
        mine = etc / "edgeopt-test"
        new_key(mine / "host_key")
        self.client.trust(mine / "host_key")
        public = self.client.key.with_suffix(".pub").read_text()
        (mine / "authorized_keys").write_text(public)
        (mine / "sshd_config").write_text(
            f"Port {self.client.port}\nListenAddress 127.0.0.1\n"
            "HostKey /etc/edgeopt-test/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
            "AuthorizedKeysFile /etc/edgeopt-test/authorized_keys\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        unit = etc / "systemd" / "system" / "test-sshd.service"
        unit.write_text(_SSHD)
        (unit.parent / "multi-user.target.wants" / unit.name).symlink_to(f"../{unit.name}")
        (unit.parent / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")

    def _boot(self) -> None:
        command = [
            # Killing the first process of its namespace ends every process on the board at once.
            "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            f"--machine={self.name}", f"--directory={self.root}", "--bind-ro=/usr",
            # Its own filter is older than Landlock; a board has none.
            "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        ]  # fmt: skip
        with (self.folder / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_for_port(self.client.port, self._process)
        except BaseException:
            self._cut()
            raise

    def _cut(self) -> None:
        self._process.kill()
        self._process.wait()
        while is_open(self.client.port):
            time.sleep(0.01)
