"""`device add --ssh` and `device uninstall` against a real SSH server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiny
from edgeopt_host.inventory import Inventory
from edgeopt_host.provision.ssh import Ssh
from sshd import Sshd, free_port, new_key

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]
# pip's time is not what is tested.
SMALL = ("--user", "--no-service", "--runtime", "onnx")


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    with Sshd(tmp_path) as server:
        monkeypatch.setenv("EDGEOPT_SSH", server.client.command)
        yield server


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def refused(ended: subprocess.CompletedProcess[str], sshd: Sshd, *words: str) -> None:
    """It failed in one sentence with these words, and nothing has been changed."""
    assert ended.returncode == 4, ended.stderr
    sentence = ended.stderr.splitlines()[-1]
    assert [word for word in words if word not in sentence] == [], sentence
    assert files(sshd.home) == []
    assert [device.name for device in Inventory.load().devices] == ["local"]


def test_a_dry_run_shows_the_commands_and_changes_nothing(
    sshd: Sshd, edgeopt_host: EdgeoptHost, home: Path
) -> None:
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board", *SMALL, "--offline", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    for words in ("pip download", "-m venv", "[enroll,onnx]", "--no-index", "identity request"):
        assert words in ended.stdout
    assert files(sshd.home) == []
    assert files(home) == []


def test_from_a_bare_board_to_a_measurement_and_back(
    sshd: Sshd, edgeopt_host: EdgeoptHost, tmp_path: Path, home: Path
) -> None:
    add = ("device", "add", "b1", "--ssh", "board", *SMALL, f"--listen-port={free_port()}")
    added = edgeopt_host(*add, "--tag", "pi")
    assert added.returncode == 0, added.stderr
    assert "[6/6] enrolling … " in added.stderr
    device = Inventory.load().get("b1")
    assert (device.tags, device.ssh, bool(device.identity)) == (("pi",), "board", True)
    assert device.scope == "user"
    other = edgeopt_host("device", "add", "b1", "--ssh", "board", "--system", "--no-service")
    assert (other.returncode, "is installed with --user" in other.stderr) == (2, True)

    # As a person would type it.
    agent = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {added.stdout.strip()}"], stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    with agent:
        try:
            assert agent.stdout.readline().startswith("listening on ")
            info = edgeopt_host("device", "info", "b1", "--format=json")
            assert info.returncode == 0, info.stderr
            model = tiny.relu(tmp_path / "relu.onnx")
            pushed = edgeopt_host("push", model, "--device=b1", "--quick", "--dim=batch=1")
            assert pushed.returncode == 0, pushed.stderr
        finally:
            agent.terminate()

    again = edgeopt_host(*add, "--tag", "lab")
    assert again.returncode == 0, again.stderr
    repeated = Inventory.load().get("b1")
    assert (repeated.identity, repeated.tags) == (device.identity, ("pi", "lab"))

    # Written anew, it knows of no revocation: what this host has told its old id does not count.
    contacts = home / "data" / "identity" / "contacts.json"
    contacts.write_text(json.dumps({device.identity: {"revoked": "told"}}))
    (identity,) = sshd.home.rglob("identity.json")
    identity.unlink()
    anew = edgeopt_host(*add)
    assert anew.returncode == 0, anew.stderr
    fresh = Inventory.load().get("b1").identity
    assert fresh not in {None, device.identity}
    assert fresh not in json.loads(contacts.read_text())

    _uninstall_while_it_runs(edgeopt_host, added.stdout.strip(), sshd.home)
    assert [path for path in sshd.home.rglob("*") if "edgeopt" in path.name] == []
    assert [device.name for device in Inventory.load().devices] == ["local"]


def _uninstall_while_it_runs(edgeopt_host: EdgeoptHost, command: str, its_home: Path) -> None:
    """An agent that somebody has started must not stay on code and state that are gone."""
    with subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"], stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline().startswith("listening on ")
        looked = edgeopt_host("device", "uninstall", "b1", "--dry-run")
        assert looked.stdout.splitlines() == [
            f"kill {agent.pid}",
            f"rm -rf '{its_home}/.local/state/edgeopt-agent'",
            f"rm -rf '{its_home}/.local/share/edgeopt-agent'",
        ]
        assert agent.poll() is None
        gone = edgeopt_host("device", "uninstall", "b1")
        assert gone.returncode == 0, gone.stderr
        assert agent.wait() == 0


def test_all_wheels_are_carried_to_a_board_without_a_network(
    tmp_path: Path, edgeopt_host: EdgeoptHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = 'ForceCommand exec unshare --map-root-user --net sh -c "$SSH_ORIGINAL_COMMAND"'
    with Sshd(tmp_path, alone) as sshd:
        monkeypatch.setenv("EDGEOPT_SSH", sshd.client.command)
        with Ssh("board") as ssh:
            interfaces = ssh.run(["cat", "/proc/net/dev"]).out.splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        added = edgeopt_host("device", "add", "b1", "--ssh", "board", *SMALL, "--offline")
        assert added.returncode == 0, added.stderr
        agent = sshd.home / ".local/share/edgeopt-agent/venv/bin/edgeopt-agent"
        probed = subprocess.run([agent, "probe"], capture_output=True, text=True, check=True)
        available = {
            r["name"] for r in json.loads(probed.stdout)["runtimes"] if not r["unavailable_reason"]
        }
        assert available == {"onnx"}


def test_an_unknown_host_key_is_refused(sshd: Sshd, edgeopt_host: EdgeoptHost) -> None:
    sshd.client.known_hosts.unlink()
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board", *SMALL)
    by_hand = f"`{sshd.client.command} board`"
    refused(ended, sshd, "host key", "is not known here", "fingerprint", by_hand)
    assert not sshd.client.known_hosts.exists()


def test_a_changed_host_key_is_refused(sshd: Sshd, edgeopt_host: EdgeoptHost) -> None:
    other = sshd.folder / "other_key"
    new_key(other)
    sshd.client.trust(other)
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board", *SMALL)
    refused(ended, sshd, "another host key", "ssh-keygen -R")


def test_a_key_that_the_board_does_not_know_is_refused(
    sshd: Sshd, edgeopt_host: EdgeoptHost
) -> None:
    new_key(sshd.client.key)
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board", *SMALL)
    refused(ended, sshd, "none of its keys", "ssh-copy-id")


def test_a_board_without_an_ssh_server_is_told(sshd: Sshd, edgeopt_host: EdgeoptHost) -> None:
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board", "--port", free_port(), *SMALL)
    refused(ended, sshd, "takes no SSH connections", "enabled")


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("sys.version_info = (3, 9, 2, 'final', 0)", ("Python 3.9.2", "3.10 or later", "--python")),
        ("import struct; struct.calcsize = lambda _: 4", ("32-bit", "64-bit image")),
        ("sys.modules['ensurepip'] = None", ("virtual environments", "python3-venv")),
        ("sys.exit(1)", ("does not run",)),
    ],
)
def test_a_python_that_will_not_do_is_refused(
    sshd: Sshd, edgeopt_host: EdgeoptHost, lie: str, words: tuple[str, ...]
) -> None:
    python = sshd.folder / "python"
    code = f"import sys; {lie}; code = sys.argv[1]; del sys.argv[1]; exec(code)"
    python.write_text(f'#!/bin/sh\nshift\nexec python3 -c "{code}" "$@"\n')
    python.chmod(0o755)
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board", *SMALL, "--python", python)
    refused(ended, sshd, *words)


@pytest.mark.usefixtures("sshd")
def test_another_hosts_device_is_not_taken_by_accident(
    edgeopt_host: EdgeoptHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add = ("device", "add", "b1", "--ssh", "board", *SMALL)
    assert edgeopt_host(*add).returncode == 0
    mine = Inventory.load().get("b1").identity
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "colleague"))
    ended = edgeopt_host(*add)
    assert (ended.returncode, "--take-over" in ended.stderr) == (4, True), ended.stderr
    assert [device.name for device in Inventory.load().devices] == ["local"]
    taken = edgeopt_host(*add, "--take-over")
    assert taken.returncode == 0, taken.stderr
    assert Inventory.load().get("b1").identity not in {None, mine}


@pytest.mark.usefixtures("sshd")
def test_words_arrive_as_they_are_and_nothing_stays_behind() -> None:
    words = ["a'b", '"c"', "$HOME", "`id`", "x;y", "", "über\nline"]
    with Ssh("board") as ssh:
        assert ssh.run(["printf", "%s|", *words]).out == "".join(f"{word}|" for word in words)
        with ssh.folder() as folder:
            assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert not Path(folder).exists()


@pytest.mark.usefixtures("sshd")
def test_a_host_that_is_killed_leaves_no_folder() -> None:
    code = (
        "import sys, time; from edgeopt_host.provision.ssh import Ssh\n"
        "with Ssh('board') as ssh, ssh.folder() as folder:\n"
        "    print(folder, flush=True); time.sleep(600)\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    with host:
        assert host.stdout is not None
        folder = Path(host.stdout.readline().strip())
        assert folder.is_dir()
        host.kill()
    while folder.exists():
        time.sleep(0.05)
