"""The devices of a bench: a TOML file that people edit too.

    # config_dir()/devices.toml
    [devices.pi4]
    address = "unix:/run/user/1000/pi4.sock"
    tags = ["pi", "lab"]

    [devices.nano]
    address = "192.168.1.40:50551"
    tags = []
    identity = "q2x4hgd7awm5tzke"   # what the device's certificate must say
    ssh = "me@nano.local"           # how it was installed
    scope = "user"                  # as what: a service of the system, or of that user

Comments and order survive what `edgeopt-host device` changes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import InlineTable

from edgeopt_host import _files
from edgeopt_host.address import DEFAULT_PORT, parse_address
from edgeopt_host.errors import UsageError
from edgeopt_host.paths import config_dir

LOCAL = "local"
SCOPES = ("system", "user")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_IDENTITY = re.compile(r"[a-z2-7]{16}")
_SSH = re.compile(r"[^-\s\x00-\x1f][^\s\x00-\x1f]{0,254}")
_HEADER = "The devices of your bench. `edgeopt-host device` keeps your comments and order."


@dataclass(frozen=True)
class Device:
    """A device by name.

    Attributes:
        address: "HOST:PORT" or "unix:PATH", and empty for `local` alone.
        identity: the device id in its certificate; None where it is not enrolled.
        ssh: USER@HOST[:PORT], where it was installed over SSH.
        scope: "system" or "user": whose service was installed over SSH.
        next_identity: the id that it is about to get, or has got without a word.
    """

    name: str
    address: str
    tags: tuple[str, ...] = ()
    identity: str | None = None
    ssh: str | None = None
    next_identity: str | None = None
    scope: str | None = None


class Inventory:
    """The devices by name, in the file's order; `local`, which is built in, comes first.

    Changes read the file again under a lock and write it whole: two processes may change it at
    once, and neither loses what the other did.
    """

    def __init__(self, path: Path, devices: Iterable[Device] = ()) -> None:
        self.path = path
        self._devices = _by_name(devices)

    @classmethod
    def load(cls, path: Path | None = None) -> Inventory:
        """Reads the inventory; a missing file is an empty one.

        Raises:
            UsageError: when it cannot be read or is not what it should be; names the line, or the
                device and key.
        """
        path = path or config_dir() / "devices.toml"
        return cls(path, _devices(_read(path), path))

    @property
    def devices(self) -> list[Device]:
        return list(self._devices.values())

    def get(self, name: str) -> Device:
        """The device of this name.

        Raises:
            UsageError: when there is none; names those there are.
        """
        if name not in self._devices:
            near = difflib.get_close_matches(name, self._devices, n=2)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UsageError(
                f"no device is called {name!r}{hint}; known are {', '.join(self._devices)}, and "
                f"`edgeopt-host device add` adds one"
            )
        return self._devices[name]

    def select(self, names: Collection[str] = (), tags: Collection[str] = ()) -> list[Device]:
        """Every device that is named or carries one of the tags, each once, in inventory order.

        Raises:
            UsageError: on an unknown name, or a tag that no device carries.
        """
        wanted = {self.get(name).name for name in names}
        for tag in tags:
            tagged = {d.name for d in self.devices if tag in d.tags}
            if not tagged:
                known = sorted({t for d in self.devices for t in d.tags})
                there = f"there are {', '.join(known)}" if known else "no device has any tag"
                raise UsageError(f"no device is tagged {tag!r}; {there}")
            wanted |= tagged
        return [d for d in self.devices if d.name in wanted]

    def add(
        self,
        name: str,
        address: str,
        tags: Iterable[str] = (),
        *,
        identity: str | None = None,
        ssh: str | None = None,
        scope: str | None = None,
    ) -> Device:
        """Adds a device at the end.

        Raises:
            UsageError: when the name is taken or malformed, or the address is refused.
        """
        device = self.check(name, address, tags, identity=identity, ssh=ssh, scope=scope)

        def change(table: Any) -> None:
            inline = isinstance(table, InlineTable)  # it can hold no other kind
            entry = tomlkit.inline_table() if inline else tomlkit.table()
            entry["address"] = device.address
            entry["tags"] = list(device.tags)
            for key in _OPTIONAL:
                if (value := getattr(device, key)) is not None:
                    entry[key] = value
            table[name] = entry

        self._change(change, absent=name)
        return device

    def change(self, name: str, **fields: str | None) -> Device:
        """Sets `address`, `identity`, `ssh`, `scope` or `next_identity`; None takes one out.

        Raises:
            UsageError: when there is no such device, it is `local`, or a value is malformed.
        """

        def change(table: Any) -> None:
            for key, value in fields.items():
                if value is None:
                    table[name].pop(key, None)
                else:
                    table[name][key] = value

        self._change(change, present=name)
        return self.get(name)

    def remove(self, name: str) -> None:
        """Removes a device.

        Raises:
            UsageError: when there is no such device, or it is `local`.
        """

        def change(table: Any) -> None:
            del table[name]

        self._change(change, present=name)

    def tag(self, name: str, add: Iterable[str] = (), remove: Collection[str] = ()) -> Device:
        """Adds and removes tags; adding one that is there, or removing one that is not, is fine.

        Raises:
            UsageError: when there is no such device, it is `local`, or a tag is malformed.
        """
        add = _check_tags(add)

        def change(table: Any) -> None:
            tags = table[name].setdefault("tags", [])
            for tag in [t for t in tags if t in remove]:
                tags.remove(tag)
            for tag in add:
                if tag not in tags:
                    tags.append(tag)

        self._change(change, present=name)
        return self.get(name)

    def check(
        self,
        name: str,
        address: str,
        tags: Iterable[str] = (),
        *,
        identity: str | None = None,
        ssh: str | None = None,
        scope: str | None = None,
    ) -> Device:
        """What `add` would add.

        Raises:
            UsageError: as `add` does.
        """
        device = Device(
            check_name(name),
            parse_address(address, enrolled=identity is not None),
            _check_tags(tags),
            None if identity is None else _check_identity(identity),
            None if ssh is None else _check_ssh(ssh),
            scope=None if scope is None else _check_scope(scope),
        )
        self._check_absent(name)
        return device

    def _check_absent(self, name: str) -> None:
        if name == LOCAL:
            raise UsageError(f"{LOCAL!r} is this machine, built in: it cannot be changed")
        if name in self._devices:
            raise UsageError(
                f"a device {name!r} is there already, at {self._devices[name].address}: "
                f"remove it first, or take another name"
            )

    def _change(
        self, change: Callable[[Any], None], *, absent: str | None = None, present: str = LOCAL
    ) -> None:
        try:
            _files.make_private(self.path.parent)
            with _files.locked(self.path.parent):
                document = _read(self.path)
                now = Inventory(self.path, _devices(document, self.path))
                if absent is not None:
                    now._check_absent(absent)
                elif now.get(present).name == LOCAL:
                    now._check_absent(LOCAL)
                if not document.as_string():
                    document.add(tomlkit.comment(_HEADER))
                    document.add(tomlkit.nl())
                change(document.setdefault("devices", tomlkit.table(is_super_table=True)))
                text = document.as_string()
                # What does not read back is not written.
                devices = _by_name(_devices(_parse(text, self.path), self.path))
                _files.write_whole(self.path, text)
                self._devices = devices
        except OSError as error:
            raise UsageError(
                f"the inventory {self.path} cannot be written: {_why(error)}"
            ) from error


def check_name(name: str, what: str = "device name") -> str:
    """Returns a name, or tag, that may be used as it is in files, tables and command lines.

    Raises:
        UsageError: when it is malformed.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no {what}: use 1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter "
            f"or digit"
        )
    return name


def _by_name(devices: Iterable[Device]) -> dict[str, Device]:
    return {LOCAL: Device(LOCAL, ""), **{device.name: device for device in devices}}


def _check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check_name(tag, "tag") for tag in tags))


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the inventory {path} cannot be read: {_why(error)}") from error


def _parse(text: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except ParseError as error:
        what = re.sub(r" at line \d+ col \d+$", "", str(error))
        raise UsageError(f"the inventory {path} is no TOML, line {error.line}: {what}") from error
    except TOMLKitError as error:
        raise UsageError(f"the inventory {path} is no TOML: {error}") from error


def _devices(document: tomlkit.TOMLDocument, path: Path) -> list[Device]:
    content = document.unwrap()
    table = content.pop("devices", {})
    if content or not isinstance(table, dict):
        unknown = ", ".join(content) or "a 'devices' that is no table"
        raise UsageError(f"the inventory {path} has {unknown}: write [devices.NAME] tables only")
    return [_device(name, entry, path) for name, entry in table.items()]


def _device(name: str, entry: Any, path: Path) -> Device:
    where = f"the inventory {path}, device {name!r}"
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: write a table, [devices.{name}], with an address")
    address, tags = entry.get("address"), entry.get("tags", [])
    if unknown := entry.keys() - {"address", "tags", *_OPTIONAL}:
        known = ", ".join(repr(key) for key in ("address", "tags", *_OPTIONAL))
        raise UsageError(f"{where}, key {min(unknown)!r}: known are {known}")
    if not isinstance(address, str):
        raise UsageError(f"{where}, key 'address': write a text like \"127.0.0.1:{DEFAULT_PORT}\"")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UsageError(f"{where}, key 'tags': write a list of texts")
    for name_of_text in _OPTIONAL:
        if not isinstance(entry.get(name_of_text, ""), str):
            raise UsageError(f"{where}, key {name_of_text!r}: write a text")
    if name == LOCAL:
        raise UsageError(f"{where}: {LOCAL!r} is built in, take another name")
    return _checked(name, entry, where)


def _checked(name: str, entry: dict[str, Any], where: str) -> Device:
    key = ""
    optional: dict[str, str | None] = {}
    try:
        check_name(name)
        for key, check in _OPTIONAL.items():
            optional[key] = check(entry[key]) if key in entry else None
        key = "address"
        address = parse_address(entry["address"], enrolled=optional["identity"] is not None)
        key = "tags"
        return Device(name, address, _check_tags(entry.get("tags", [])), **optional)
    except UsageError as error:
        key = f", key {key!r}" if key else ""
        raise UsageError(f"{where}{key}: {error.message}") from error


def _check_identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        raise UsageError(f"{text!r} is no device id: it has 16 of a-z and 2-7, as enrolling set it")
    return text


def _check_ssh(text: str) -> str:
    # The ssh command must never take it for an option.
    if not _SSH.fullmatch(text):
        raise UsageError(f"{text!r} is no SSH destination: write USER@HOST or HOST")
    return text


def _check_scope(text: str) -> str:
    if text not in SCOPES:
        raise UsageError(f"{text!r} is no scope: it is {' or '.join(SCOPES)}, as installing set it")
    return text


_OPTIONAL: dict[str, Callable[[str], str]] = {
    "identity": _check_identity,
    "ssh": _check_ssh,
    "next_identity": _check_identity,
    "scope": _check_scope,
}


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
