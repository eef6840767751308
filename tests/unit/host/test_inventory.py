from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_host.address import parse_address
from edgeopt_host.errors import UsageError
from edgeopt_host.inventory import Device, Inventory, check_name

_FINE = "[devices.a]\naddress = 'localhost'\n"
_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True).filter(lambda n: n != "local")
_ADDRESSES = st.one_of(
    st.builds(lambda port: f"127.0.0.1:{port}", st.integers(1, 65535)),
    st.builds(lambda port: f"[::1]:{port}", st.integers(1, 65535)),
    st.builds(lambda path: f"unix:/{path}", st.text("ab/._- ü", min_size=1, max_size=30)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "devices.toml"


def _names(devices: list[Device]) -> list[str]:
    return [device.name for device in devices]


def test_without_a_file_there_is_local(path: Path) -> None:
    inventory = Inventory.load(path)
    assert inventory.devices == [Device("local", "")]
    assert not path.parent.exists()


def test_what_is_added_is_there_again(path: Path) -> None:
    inventory = Inventory.load(path)
    added = inventory.add("pi4", "localhost", ["pi", "lab", "pi"])
    assert added == Device("pi4", "localhost:50551", ("pi", "lab"))
    assert inventory.get("pi4") == added
    assert Inventory.load(path).devices == [Device("local", ""), added]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_comments_and_order_stay(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(
        "# my bench\n"
        "[devices.zero]  # on the shelf\n"
        'address = "127.0.0.1:1"\n'
        "# the good one\n"
        "[devices.five]\n"
        'tags = ["pi"]  # no camera\n'
        'address = "unix:/run/five.sock"\n'
    )
    inventory = Inventory.load(path)
    inventory.add("a", "127.0.0.1:2")
    inventory.tag("five", add=["lab"])
    assert path.read_text() == (
        "# my bench\n"
        "[devices.zero]  # on the shelf\n"
        'address = "127.0.0.1:1"\n'
        "# the good one\n"
        "[devices.five]\n"
        'tags = ["pi", "lab"]  # no camera\n'
        'address = "unix:/run/five.sock"\n'
        "\n"
        "[devices.a]\n"
        'address = "127.0.0.1:2"\n'
        "tags = []\n"
    )
    assert _names(Inventory.load(path).devices) == ["local", "zero", "five", "a"]
    inventory.remove("five")
    assert "# my bench" in path.read_text()
    assert _names(Inventory.load(path).devices) == ["local", "zero", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "devices = {a = {address = 'localhost'}}\n",
        "devices.a.address = 'localhost'\n",
        "[devices]\na = {address = 'localhost'}\n",
        "[devices.a]\naddress = 'localhost'\n# end\n",
        "[devices.a]\naddress = 'localhost'",
    ],
)
def test_every_way_to_write_it_can_be_changed(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    inventory = Inventory.load(path)
    inventory.add("b.2", "localhost:2", ["x"])
    inventory.tag("a", add=["y"])
    assert Inventory.load(path).devices[1:] == [
        Device("a", "localhost:50551", ("y",)),
        Device("b.2", "localhost:2", ("x",)),
    ]
    inventory.remove("a")
    inventory.remove("b.2")
    assert _names(Inventory.load(path).devices) == ["local"]


def test_tags(path: Path) -> None:
    inventory = Inventory.load(path)
    inventory.add("pi4", "localhost", ["a", "b"])
    assert inventory.tag("pi4", add=["c", "a"], remove=["b", "z"]).tags == ("a", "c")
    assert Inventory.load(path).get("pi4").tags == ("a", "c")
    with pytest.raises(UsageError, match="'A' is no tag"):
        inventory.tag("pi4", add=["A"])


def test_a_selection_is_a_union_in_inventory_order(path: Path) -> None:
    inventory = Inventory.load(path)
    inventory.add("pi5", "localhost:1", ["pi"])
    inventory.add("jetson", "localhost:2")
    inventory.add("pi4", "localhost:3", ["pi"])
    assert _names(inventory.select(["jetson", "pi5", "jetson"], ["pi"])) == ["pi5", "jetson", "pi4"]
    assert _names(inventory.select(["local"])) == ["local"]
    assert inventory.select() == []


def test_an_unknown_name_or_tag_tells_the_known(path: Path) -> None:
    inventory = Inventory.load(path)
    with pytest.raises(UsageError, match="no device has any tag"):
        inventory.select(tags=["pi"])
    inventory.add("pi4", "localhost", ["lab"])
    with pytest.raises(UsageError, match=r"'pi' \(did you mean pi4\?\); known are local, pi4"):
        inventory.select(["pi"])
    with pytest.raises(UsageError, match="no device is tagged 'pi'; there are lab"):
        inventory.select(tags=["pi"])


def test_local_stays_as_it_is(path: Path) -> None:
    inventory = Inventory.load(path)
    for change in (
        lambda: inventory.add("local", "localhost"),
        lambda: inventory.remove("local"),
        lambda: inventory.tag("local", add=["x"]),
    ):
        with pytest.raises(UsageError, match="'local' is this machine, built in"):
            change()
    assert not path.exists()


def test_a_name_is_taken_once(path: Path) -> None:
    inventory = Inventory.load(path)
    inventory.add("pi4", "localhost:7")
    with pytest.raises(UsageError, match="'pi4' is there already, at localhost:7"):
        inventory.add("pi4", "localhost:8")
    with pytest.raises(UsageError, match="no device is called 'pi5'"):
        inventory.remove("pi5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[devices.a\n", "is no TOML, line 1: "),
        ("# fine\n[devices.a]\naddress = \n", "is no TOML, line 3: "),
        ("[devices.a]\nx = 1\nx = 2\n", 'is no TOML: Key "x" already exists'),
        ("[device.a]\n", "has device: write"),
        ("devices = 3\n", "has a 'devices' that is no table"),
        ("[devices]\na = 3\n", "device 'a': write a table"),
        ("[devices.a]\n", "device 'a', key 'address': write a text"),
        ("[devices.a]\naddress = 1\n", "device 'a', key 'address': write a text"),
        ("[devices.a]\naddress = 'x'\n", "device 'a', key 'address': x is not this machine"),
        (
            "[devices.a]\naddress = 'localhost'\ntags = 'x'\n",
            "device 'a', key 'tags': write a list",
        ),
        (
            "[devices.a]\naddress = 'localhost'\ntags = ['X']\n",
            "device 'a', key 'tags': 'X' is no tag",
        ),
        ("[devices.a]\naddress = 'localhost'\nport = 1\n", "device 'a', key 'port': known are"),
        ("[devices.A]\naddress = 'localhost'\n", "device 'A': 'A' is no device name: use 1 to 63"),
        ("[devices.local]\naddress = 'localhost'\n", "device 'local': 'local' is built in"),
    ],
)
def test_a_malformed_file_says_where(path: Path, text: str, said: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        Inventory.load(path)
    assert str(path) in caught.value.message
    assert path.read_text() == text


def test_files_that_cannot_be_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        Inventory.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        Inventory.load(path)
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        Inventory(Path("/proc/nowhere/devices.toml")).add("pi4", "localhost")


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    target = tmp_path / "dotfiles.toml"
    target.touch(mode=0o640)
    path.symlink_to(target)
    Inventory.load(path).add("pi4", "localhost")
    assert path.is_symlink()
    assert "pi4" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["devices.toml"]


def test_two_processes_lose_nothing(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgeopt_host.inventory import Inventory\n"
        "inventory = Inventory.load(Path(sys.argv[1])); sys.stdin.read()\n"
        "for i in range(10): inventory.add(f'{sys.argv[2]}{i}', 'localhost')\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], stdin=subprocess.PIPE)
        for name in "ab"
    ]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0]
    assert len(Inventory.load(path).devices) == 21


@given(_NAMES, _ADDRESSES, st.lists(_NAMES, max_size=3, unique=True))
def test_anything_allowed_comes_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, address: str, tags: list[str]
) -> None:
    path = tmp_path_factory.mktemp("inventory") / "devices.toml"
    added = Inventory.load(path).add(name, address, tags)
    assert Inventory.load(path).get(name) == added
    assert parse_address(added.address) == added.address


@given(st.text(max_size=70))
def test_a_name_is_checked(text: str) -> None:
    allowed = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}").fullmatch(text)
    if allowed:
        assert check_name(text) == text
    else:
        with pytest.raises(UsageError, match="use 1 to 63 of a-z"):
            check_name(text)


@given(st.one_of(st.text(max_size=40), st.text("[]:.0123456789abunix/~", max_size=40)))
def test_an_address_is_on_this_machine_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert re.match(r"unix:/|127\.|localhost:|\[[0:.]*1\]:", address), address
    assert parse_address(address) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost", "localhost:50551"),
        ("LocalHost:1", "localhost:1"),
        ("127.8.0.1", "127.8.0.1:50551"),
        ("[::1]", "[::1]:50551"),
        ("[0:0:0:0:0:0:0:1]:65535", "[0:0:0:0:0:0:0:1]:65535"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:///run/a.sock", "unix:/run/a.sock"),
        ("unix:a.sock", f"unix:{Path.cwd()}/a.sock"),
        ("unix:~/a.sock", f"unix:{Path.home()}/a.sock"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.168.1.7:50551", "plain text is never sent off loopback"),
        ("raspberrypi.local", "device add NAME --ssh USER@HOST"),
        ("[fe80::1]:1", "plain text is never sent off loopback"),
        ("[::ffff:127.0.0.1]", "plain text is never sent off loopback"),
        ("127.0.0.1.example.com", "plain text is never sent off loopback"),
        ("0.0.0.0", "plain text is never sent off loopback"),  # noqa: S104
        ("127.1", "plain text is never sent off loopback"),
        ("::1", "IPv6 in brackets like [::1]:50551"),
        ("[x]", "no IPv6 address in its brackets"),
        ("localhost:0", "port 0: use 1 to 65535"),
        ("localhost:65536", "port 65536: use 1 to 65535"),
        ("localhost:", "is no address"),
        ("localhost:x", "is no address"),
        ("http://localhost", "is no address"),
        ("", "is no address"),
        ("unix:", "names no socket"),
        ("unix:~nobody-of-this-name/x", "names no socket"),
        ("unix:/" + "a" * 107, "longer than 107 bytes"),
    ],
)
def test_addresses_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_address(text)


_TEXTS = st.text(max_size=24) | st.sampled_from(["q" * 16, "192.168.1.4:50551", "[::1]:1", "pi"])
_ENTRIES = st.dictionaries(
    st.sampled_from(["address", "tags", "identity", "ssh", "next_identity", "other"]),
    _TEXTS | st.integers() | st.booleans() | st.lists(_TEXTS, max_size=3),
    max_size=6,
)


@given(
    st.text(max_size=300)
    | st.dictionaries(_TEXTS, _ENTRIES, max_size=3).map(lambda d: tomlkit.dumps({"devices": d}))
)
def test_any_text_is_an_inventory_or_is_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        inventory = Inventory.load(path)
    except UsageError:
        return
    for device in inventory.devices:
        assert device.name == "local" or device.address


def test_an_enrolled_device_may_be_anywhere_and_remembers_how_it_came(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path / "devices.toml")
    with pytest.raises(UsageError, match="enrol the device"):
        inventory.add("pi", "192.168.1.4")
    added = inventory.add("pi", "192.168.1.4", identity="q" * 16, ssh="me@pi.local")
    assert added == Device("pi", "192.168.1.4:50551", (), "q" * 16, "me@pi.local")
    inventory.change("pi", next_identity="r" * 16, address="10.0.0.9:1")
    changed = Inventory.load(inventory.path).get("pi")
    assert (changed.address, changed.next_identity) == ("10.0.0.9:1", "r" * 16)
    assert inventory.change("pi", identity="r" * 16, next_identity=None).next_identity is None
    refused: list[dict[str, str | None]] = [
        {"identity": "short"},
        {"ssh": "-oProxyCommand=x"},
        {"identity": None},
    ]
    for fields in refused:
        with pytest.raises(UsageError):
            inventory.change("pi", **fields)
    assert Inventory.load(inventory.path).get("pi").identity == "r" * 16
