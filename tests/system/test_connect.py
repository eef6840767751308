"""The way to an agent, as a person sees it that goes wrong: one sentence, and no other word."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import AgentProcess
from edgeopt_host.inventory import Inventory
from sshd import free_port
from trust import enroll_files, foreign_host

StartAgent = Callable[..., AgentProcess]
Host = Callable[..., subprocess.CompletedProcess[str]]


def test_a_plain_address_of_an_agent_with_keys_is_told(
    start_agent: StartAgent, edgeopt_host: Host, tmp_path: Path
) -> None:
    waiting = start_agent("--enroll", "--listen=127.0.0.1:0", state_dir=tmp_path / "waiting")
    enroll_files(tmp_path / "theirs", foreign_host())
    enrolled = start_agent("--listen=127.0.0.1:0", state_dir=tmp_path / "theirs")
    for agent, what_to_do in ((waiting, "device enroll raw"), (enrolled, "identity export")):
        ended = edgeopt_host("device", "add", "raw", agent.address)
        assert (ended.returncode, ended.stderr.count("\n")) == (4, 1), ended.stderr
        assert "speaks TLS" in ended.stderr
        assert what_to_do in ended.stderr
    assert [device.name for device in Inventory.load().devices] == ["local"]


def test_a_failed_handshake_is_one_sentence(
    start_agent: StartAgent, edgeopt_host: Host, tmp_path: Path
) -> None:
    theirs = enroll_files(tmp_path / "state", foreign_host())
    enroll_files(tmp_path / "ours")
    agent = start_agent("--listen=127.0.0.1:0", state_dir=tmp_path / "state")
    Inventory.load().add("pi", agent.address, identity=theirs)
    ended = edgeopt_host("device", "info", "pi")
    assert (ended.returncode, ended.stderr.count("\n")) == (4, 1), ended.stderr
    assert "another host's CA" in ended.stderr


@pytest.mark.parametrize("address", ["silent", "there"])
def test_a_way_that_is_given_up_early_leaves_no_words(address: str, agent: AgentProcess) -> None:
    """As Ctrl-C does; a thread that polls a closed channel would fail, aloud."""
    place = agent.address if address == "there" else f"127.0.0.1:{free_port()}"
    code = (
        "import sys, threading, time\n"
        "from edgeopt_host.client import _channel\n"
        "from edgeopt_host.errors import Cancelled\n"
        "for number in range(20):\n"
        "    stop = threading.Event()\n"
        "    threading.Timer(number / 1000, stop.set).start()\n"
        "    with _channel.plain(sys.argv[1]) as channel:\n"
        "        try: _channel.answers(channel, 5, stop)\n"
        "        except Cancelled: pass\n"
        "time.sleep(0.5)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, place], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
