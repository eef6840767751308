"""The agent's wheel, and the wheels that a board without internet gets."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.inventory import Inventory
from edgeopt_host.provision import offline, scripts, wheel
from edgeopt_host.provision.install import _spelled
from edgeopt_host.provision.ssh import Ssh
from edgeopt_host.provision.steps import Steps


def test_the_wheel_holds_the_agent_alone_and_what_its_record_says(tmp_path: Path) -> None:
    made = wheel.build(tmp_path)
    with zipfile.ZipFile(made) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    (record,) = [name for name in content if name.endswith(".dist-info/RECORD")]
    rows = {name: digest for name, digest, _ in csv.reader(io.StringIO(content[record].decode()))}
    assert rows.keys() == content.keys()
    for name, digest in rows.items():
        if name != record:
            sha = hashlib.sha256(content[name]).digest()
            assert digest == "sha256=" + base64.urlsafe_b64encode(sha).rstrip(b"=").decode()
    assert {name.partition("/")[0] for name in content} == {
        "edgeopt", "edgeopt_agent", record.partition("/")[0],
    }  # fmt: skip
    assert not any("edgeopt-host" in text.decode(errors="replace")
                   for name, text in content.items() if name.endswith("entry_points.txt"))  # fmt: skip


def test_the_same_installation_makes_the_same_wheel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    a, b = (wheel.build(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert a == b


def test_pip_installs_the_wheel_and_the_agent_starts(tmp_path: Path) -> None:
    made = wheel.build(tmp_path)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(made)], check=True)
    # Not this repository's: its paths are left out.
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import edgeopt_agent as a; print(a.__file__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(str(target))
    assert (target / "bin" / "edgeopt-agent").is_file()
    assert not (target / "bin" / "edgeopt-host").exists()


def facts(libc: str, machine: str = "aarch64") -> dict[str, str]:
    markers = {"python_version": "3.11", "platform_machine": machine}
    return {"libc": libc, "tag": "cp311", "markers": json.dumps(markers)}


def test_wheels_are_asked_for_the_boards_python_and_libc(tmp_path: Path) -> None:
    command = offline.download(
        Path("edgeopt.whl"), ["enroll", "onnx"], facts("glibc 2.31"), tmp_path, dry_run=True
    )
    platforms = [command[i + 1] for i, word in enumerate(command) if word == "--platform"]
    assert platforms[0] == "manylinux_2_31_aarch64"
    assert platforms[-3:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"]
    assert command[command.index("--abi") + 1] == "cp311"
    assert command[-1] == "edgeopt.whl[enroll,onnx]"


@pytest.mark.parametrize(
    ("libc", "machine", "word"),
    [("musl", "aarch64", "musl"), ("", "aarch64", "none"), ("glibc 2.31", "riscv64", "riscv64")],
)
def test_boards_that_no_wheels_are_carried_to_are_refused(
    tmp_path: Path, libc: str, machine: str, word: str
) -> None:
    with pytest.raises(EdgeoptError, match=word) as caught:
        offline.download(Path("w"), [], facts(libc, machine), tmp_path, dry_run=True)
    assert caught.value.reason == "OFFLINE_UNSUPPORTED"


def test_conditions_are_those_of_the_board(tmp_path: Path) -> None:
    """pip itself would evaluate them for this host; here they decide between two packages."""
    package = tmp_path / "index"
    package.mkdir()
    for name in ("for-aarch64", "for-others"):
        _empty_wheel(package, name, ())
    conditions = (
        "for-aarch64; platform_machine == 'aarch64'",
        "for-others; platform_machine != 'aarch64'",
    )
    agent = _empty_wheel(tmp_path, "agent", conditions)
    wheels = tmp_path / "wheels"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(package))
        patch.delenv("PIP_CONSTRAINT", raising=False)
        offline.download(agent, ["x"], facts("glibc 2.31"), wheels)
    assert {path.name.partition("-")[0] for path in wheels.iterdir()} == {"agent", "for_aarch64"}


def _empty_wheel(folder: Path, name: str, requires: tuple[str, ...]) -> Path:
    stem = name.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", "Provides-Extra: x"]
    lines += [f"Requires-Dist: {condition}" for condition in requires]
    with zipfile.ZipFile(path, "w") as archive:
        info = f"{stem}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.parametrize("target", ["-oProxyCommand=id", "", "a b", "pi@host\n"])
def test_what_ssh_could_take_for_an_option_is_no_target(target: str) -> None:
    with pytest.raises(UsageError, match="SSH target"):
        Ssh(target)


def test_the_target_and_its_port_are_kept_as_one_word() -> None:
    assert _spelled("pi@pi4.local", None) == "pi@pi4.local"
    assert _spelled("pi@pi4.local", 2222) == "ssh://pi@pi4.local:2222"
    assert _spelled("pi@fd00::1", 2222) == "ssh://pi@[fd00::1]:2222"
    assert Ssh(_spelled("pi@pi4.local", 2222)).hostname() == "pi4.local"


def test_each_step_is_a_line_that_tells_how_it_ended() -> None:
    pieces: list[str] = []
    steps = Steps(2, pieces.append)
    with steps.step("one"):
        pass
    with pytest.raises(KeyError), steps.step("two"):
        raise KeyError
    assert "".join(pieces) == "[1/2] one … done\n[2/2] two … failed\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("b1",), "--ssh USER@HOST"),
        (("b1", "127.0.0.1", "--ssh", "pi@pi4"), "without ADDRESS"),
        (("b1", "127.0.0.1", "--listen-port", "1"), "--listen-port is for --ssh"),
        (("b1", "127.0.0.1", "--address", "a:1"), "--address is for --ssh"),
        (("b1", "127.0.0.1", "--dry-run"), "--dry-run is for --ssh"),
        (("b1", "--ssh", "localhost", "--runtime", "host"), "no runtime is called 'host'"),
        (("B 1", "--ssh", "localhost"), "is no device name"),
        (("local", "--ssh", "localhost"), "cannot be changed"),
        (("b1", "--ssh", "localhost", "--user", "--system"), "exclude each other"),
        (("b1", "--ssh", "pi@pi4:22"), "use pi@pi4, and --port 22"),
    ],
)
def test_what_cannot_be_meant_is_used_wrongly(
    words: tuple[str, ...],
    said: str,
    edgeopt_host: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    ended = edgeopt_host("device", "add", *words)
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


@pytest.mark.parametrize("name", [scripts.INSTALL, scripts.UNINSTALL])
def test_scripts_are_posix_sh(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(scripts.read(name))
    subprocess.run(["/bin/sh", "-n", path], check=True)
    helped = subprocess.run(
        ["/bin/sh", path, "--help"], capture_output=True, text=True, check=False
    )
    assert "--dry-run" in helped.stdout + helped.stderr


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("no-such-ssh -v", 4, "'no-such-ssh', which EDGEOPT_SSH names, is not here"),
        ("ssh -F 'x", 2, "no closing quotation"),
    ],
)
def test_an_ssh_command_that_cannot_be_run_is_told(
    setting: str,
    code: int,
    said: str,
    edgeopt_host: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEOPT_SSH", setting)
    ended = edgeopt_host("device", "add", "b1", "--ssh", "board")
    assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("local", "part of edgeopt-host"),
        ("by-hand", "was not installed over SSH"),
        ("old", "does not say whether"),
    ],
)
def test_what_was_not_installed_from_here_is_not_uninstalled(
    name: str, said: str, edgeopt_host: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    Inventory.load().add("by-hand", "127.0.0.1:1")
    Inventory.load().add("old", "127.0.0.1:1", ssh="board")
    ended = edgeopt_host("device", "uninstall", name)
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_by_hand_goes_what_the_script_lies_in_and_no_state_but_its_own(tmp_path: Path) -> None:
    base, state = tmp_path / ".local/share/edgeopt-agent", tmp_path / ".local/state/edgeopt-agent"
    for folder in (base, state):
        folder.mkdir(parents=True)
    script = base / scripts.UNINSTALL
    elsewhere = tmp_path / scripts.UNINSTALL
    for path in (script, elsewhere):
        path.write_text(scripts.read(scripts.UNINSTALL))

    def run(path: Path) -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(["/bin/sh", path], env=env, capture_output=True, text=True)  # noqa: PLW1510

    asked = run(elsewhere)
    assert (asked.returncode, "--system or --user" in asked.stderr) == (2, True), asked.stderr
    assert base.exists()
    # Nothing says that this state was ever used by this installation.
    ended = run(script)
    assert (ended.returncode, base.exists(), state.exists()) == (0, False, True), ended.stderr

    base.mkdir()
    script.write_text(scripts.read(scripts.UNINSTALL))
    (base / "installed").write_text(f"state={state}\n")
    ended = run(script)
    assert (ended.returncode, base.exists(), state.exists()) == (0, False, False), ended.stderr
