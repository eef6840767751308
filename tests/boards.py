r"""Recorded trees of boards that are not here: `lay_out("pi5", tmp_path)` makes one real.

A record is one text file, boards/NAME.txt:

    # a comment: where the values below come from
    sys/class/thermal/thermal_zone0/temp = 47386
    proc/cpuinfo =
        | processor : 0
        | CPU part : 0xd0b
    deny sys/class/power_supply

A file gets a newline at its end unless it ends with NUL, written \0, like a device tree's strings.
A file that begins with "#!" is made executable. "deny" takes all permissions away; root needs
`unprivileged()` to notice.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

_RECORDS = Path(__file__).parent / "boards"
NAMES = sorted(path.stem for path in _RECORDS.glob("*.txt"))


def lay_out(name: str, root: Path) -> Path:
    """Makes the recorded files below `root`, and returns it."""
    files: dict[str, list[str]] = {}
    denied: list[Path] = []
    latest = ""
    for line in (_RECORDS / f"{name}.txt").read_text("utf-8").splitlines():
        text = line.strip()
        if text.startswith("|"):
            files[latest].append(text[1:].removeprefix(" "))
        elif text.startswith("deny "):
            denied.append(root / text.removeprefix("deny "))
        elif text and not text.startswith("#"):
            latest, _, value = (part.strip() for part in text.partition("="))
            files[latest] = [value] if value else []
    for file, lines in files.items():
        write(root / file, "\n".join(lines).replace("\\0", "\0"))
    for path in denied:
        if not path.exists():
            path.mkdir(parents=True)
        path.chmod(0)
    return root


def write(path: Path, content: str | int) -> None:
    """Writes one file of a tree, as the kernel would show it."""
    text = str(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\0") else f"{text}\n", "utf-8")
    path.chmod(0o755 if text.startswith("#!") else 0o644)


def firmware_ioctl(
    descriptor: int, request: int, message: bytearray, separator: bytes = b"\0"
) -> int:
    """The ioctl of /dev/vcio on a recorded file, which holds "command: answer" for each command.

    The message as raspberrypi/utils, vcgencmd/vcgencmd.c makes it: six words, 1024 bytes, a word.
    Lines of an answer are separated by NULs (ml-energy/zeus #274), or as told.
    """
    header = struct.Struct("=6I")
    size, code, tag, room, _, _ = header.unpack_from(message)
    if (request & 0xFFFF, size, code, tag, room) != (100 << 8, len(message), 0, 0x30080, 1024):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    command = bytes(message[header.size :]).partition(b"\0")[0]
    recorded = os.pread(descriptor, 4096, 0)
    known = re.search(rb"^%b:(.*(?:\n[ ].*)*)" % re.escape(command), recorded, re.MULTILINE)
    error = b'error=1 error_msg="Command not registered"'
    answer = known[1].strip(b"\n").replace(b"\n", separator) if known else error
    answer = answer.removeprefix(b" ") + b"\0"
    header.pack_into(message, 0, size, 1 << 31, tag, room, 1 << 31 | 1024, 0 if known else 1)
    # What a short answer leaves of the command stays.
    message[header.size : header.size + len(answer)] = answer
    return 0


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Makes file permissions count for root too: this thread does without its capabilities.

    Linux's capset(2), version 3. Without privileges there is nothing to drop.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    # Effective, permitted, inheritable: for the lower 32 capabilities, then for the upper.
    before, without = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    _check(libc.capget(header, before))
    for index, kept in enumerate(before):
        without[index] = 0 if index in {0, 3} else kept
    _check(libc.capset(header, without))
    try:
        yield
    finally:
        _check(libc.capset(header, before))


def _check(failed: int) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
