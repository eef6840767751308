"""Targets: files and words that a host's user, or another program, wrote."""

from __future__ import annotations

import json
import math
import os
import zlib
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import numpy as np
from hypothesis import strategies as st

from edgeopt.agent.v1 import agent_pb2
from edgeopt_host import reservations
from edgeopt_host.address import parse_address
from edgeopt_host.cli import _parse
from edgeopt_host.errors import EdgeoptError, StoreError, UsageError
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.run import LAUNCH_FIGURES, Run
from edgeopt_host.store import _codec
from edgeopt_host.store.schema import LaunchRow
from fuzz.inputs import arguments, content, json_files, utf8, values
from fuzz.target import Target, scratch
from sample_runs import whole_run

_FOLDER = scratch()

_INVENTORIES = [
    (
        '# mine\n[devices.pi4]\naddress = "unix:/run/pi4.sock"\ntags = ["pi", "lab"]\n\n'
        '[devices.nano]\naddress = "192.168.1.40:50551"\ntags = []\nidentity = "q2x4hgd7awm5tzke"\n'
        'ssh = "me@nano.local"\n'
    ),
    'devices = {pi4 = {address = "127.0.0.1:50551"}, "nano" = {address = "localhost", tags = []}}\n',
    'devices.pi4.address = "127.0.0.1"\ndevices.nano.address = "[::1]:1"\n',
    '[devices]\n"pi4".address = "127.0.0.1" # here\n[devices.nano]\naddress = """\\\nlocalhost"""\n',
    "",
]
_TOML = (
    *(
        "[devices.pi4]",
        "[devices]",
        "[[devices]]",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        "\n",
        "#",
        '"',
        "'''",
        '"""',
    ),
    *(
        'address = "',
        "tags = [",
        "1979-05-27T07:32:00Z",
        "1979-13-45",
        "\\ud800",
        "\\U00110000",
        "\r",
        "\ufeff",
    ),
    *("0x_1", "inf", "1e", "true", "devices.pi4.x = 1", "identity = 1", "ssh = '-oProxyCommand=x'"),
)
_TOML_FILES = utf8(_INVENTORIES, _TOML)
_NESTED_TOML = (
    b"a = " + b"[" * 3000 + b"]" * 3000,
    b"[" + b"a." * 20_000 + b"a]",
    b"a" + b".a" * 20_000 + b"=1",
)


def _write_inventory(data: bytes) -> Inventory:
    path = _FOLDER / "devices.toml"
    path.write_bytes(data)
    return Inventory.load(path)


def _load_inventory(data: bytes) -> None:
    for device in _write_inventory(data).devices:
        assert device.name == "local" or device.address
        device.address.encode("utf-8", "surrogateescape")


def _change_inventory(given: tuple[bytes, str, str]) -> None:
    data, change, name = given
    inventory = _write_inventory(data)
    before = {device.name: device for device in inventory.devices}
    match change:
        case "add":
            made = inventory.add(name, "127.0.0.1:1", ["a"])
            expected = {**before, name: made}
        case "tag":
            made = inventory.tag(name, ["new"], ["pi"])
            expected = {**before, name: made}
            assert "new" in made.tags
        case "change":
            made = inventory.change(name, address="localhost:2", identity=None, ssh="me@pi")
            expected = {**before, name: made}
        case _:
            inventory.remove(name)
            expected = {other: device for other, device in before.items() if other != name}
    # Nothing else has changed, and a new process reads the same.
    assert {device.name: device for device in Inventory.load(inventory.path).devices} == expected


_DEVICE = Device("pi4", "127.0.0.1:1")
_LEASES = [{"pi4": {"fencing_number": 3, "term_s": 60.0, "ends": 1.7e9}}]


@patch.dict(os.environ, EDGEOPT_HOME=str(_FOLDER))
def _find_lease(data: bytes) -> None:
    path = reservations._path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    found = reservations.find(_DEVICE)
    if found is not None:
        assert isinstance(found.fencing_number, int)
        assert 0 <= found.fencing_number < 2**63
        assert math.isfinite(found.ends)
        assert math.isfinite(found.term_s)
    reservations.keep(_DEVICE, agent_pb2.Lease(fencing_number=5, remaining_ns=10**9), 1.0)
    kept = reservations.find(_DEVICE)
    assert kept is not None
    assert kept.fencing_number == 5


_DOCUMENT = whole_run().document()


def _read_document(given: tuple[Any, Any]) -> None:
    document, channels = given
    made = _codec.to_run(document, channels)
    assert isinstance(made, Run)
    made.document()


_ROW = next(row for row in _codec.to_rows(whole_run()) if isinstance(row, LaunchRow))
_READINGS = json.loads(zlib.decompress(_ROW.readings))
_BLOCKS = [list(block) for block in _ROW.blocks]
_SAMPLES = content([_ROW.samples], []) | st.binary(max_size=80).map(zlib.compress)


def _read_launch(given: tuple[Any, bytes, bytes]) -> None:
    blocks, samples, readings = given
    figures = {name: getattr(_ROW, name) for name in LAUNCH_FIGURES}
    others = {name: getattr(_ROW, name) for name in ("number", "tainted", "stream_rss_bytes")}
    row = SimpleNamespace(
        **figures,
        **others,
        run_id="r",
        position=0,
        blocks=blocks,
        samples=samples,
        readings=readings,
    )
    launch = _codec.to_launch(row)  # type: ignore[arg-type]
    assert all(np.asarray(block.latency_ns).dtype == np.int64 for block in launch.blocks)


_OPTIONS = (
    _parse.Seconds(0.0),
    _parse.KeyValue(),
    _parse.Dimension(),
    _parse.ShapeOption(),
    _parse.RangeOption(),
    _parse.DelegateOption(),
)


def _convert(given: tuple[int, str]) -> None:
    _OPTIONS[given[0]].convert(given[1], None, None)


_WORDS = arguments(
    ["batch=4", "image=1,3,224,224:float32", "image=-1:1", "/lib/x.so:a=b,c=d", "30", "1.5"],
    ("=", ":", ",", ".", "-", "_", "e", "inf", "nan", "9223372036854775808"),
)


def _dial(given: tuple[str, bool]) -> None:
    address = parse_address(given[0], enrolled=given[1])
    assert parse_address(address, enrolled=given[1]) == address


_ADDRESSES = arguments(
    ["unix:/run/agent.sock", "127.0.0.1:50551", "[::1]:50551", "localhost", "pi4.local:1"],
    ("unix:", "unix://", "[", "]", ":", "127.0.0.1", "::1", "%eth0", "localhost", "65536"),
)

TARGETS = [
    Target("inventory", _TOML_FILES, _load_inventory, (UsageError,), _NESTED_TOML, cost=2),
    Target(
        "inventory-change",
        st.tuples(
            _TOML_FILES,
            st.sampled_from(("add", "tag", "change", "remove")),
            st.sampled_from(("pi4", "nano", "new", "a.b", "local")),
        ),
        _change_inventory,
        (UsageError,),
        cost=4,
    ),
    Target(
        "leases",
        json_files(_LEASES),
        _find_lease,
        (EdgeoptError,),
        (b"[" * 100_000, b'{"pi4": ' * 50_000),
        cost=4,
    ),
    Target(
        "store-run",
        st.tuples(values([_DOCUMENT]), values([{"cpu0": "clock_hz"}])),
        _read_document,
        (StoreError,),
    ),
    Target(
        "store-launch",
        st.tuples(
            values([_BLOCKS]),
            _SAMPLES,
            values([_READINGS]).map(lambda v: zlib.compress(json.dumps(v).encode()))
            | content([_ROW.readings]),
        ),
        _read_launch,
        (StoreError,),
        ((_BLOCKS, _ROW.samples, zlib.compress(b"[" * 200_000)),),
    ),
    Target(
        "cli-option",
        st.tuples(st.integers(0, len(_OPTIONS) - 1), _WORDS),
        _convert,
        (click.UsageError,),
    ),
    Target("host-address", st.tuples(_ADDRESSES, st.booleans()), _dial, (UsageError,)),
]
