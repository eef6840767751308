"""Where an agent without keys may listen: a private socket, or loopback when asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edgeopt_agent.errors import InvalidArgument
from edgeopt_agent.server.address import ListenAddress


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.1.2.3", "127.1.2.3:50551"),
        ("localhost:7", "localhost:7"),
        ("[::1]:9", "[::1]:9"),
        ("[::1]", "[::1]:50551"),
    ],
)
def test_loopback_is_allowed_with_insecure(text: str, target: str) -> None:
    assert ListenAddress.parse(text, insecure=True).target == target
    with pytest.raises(InvalidArgument, match="--insecure"):
        ListenAddress.parse(text, insecure=False)


@pytest.mark.parametrize(
    "text", ["0.0.0.0:50551", "192.168.1.4:1", "[::]:1", "example.org:1", "10.0.0.1"]
)
def test_anything_the_network_reaches_is_refused_even_with_insecure(text: str) -> None:
    with pytest.raises(InvalidArgument, match="can be reached from the network"):
        ListenAddress.parse(text, insecure=True)


@pytest.mark.parametrize("text", ["", ":", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        ListenAddress.parse(text, insecure=True)


def test_a_socket_path_longer_than_unix_sockets_hold_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="107"):
        ListenAddress.parse(f"unix:/tmp/{'x' * 120}", insecure=False)


def test_a_left_over_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    address = ListenAddress.parse(f"unix:{path}", insecure=False)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with pytest.raises(InvalidArgument, match="listens on"):
            address.prepare()
    address.prepare()
    assert not path.exists()


def test_another_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(InvalidArgument, match="is no socket"):
        ListenAddress.parse(f"unix:{path}", insecure=False).prepare()
    assert path.read_text() == "precious"
