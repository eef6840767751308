"""The Raspberry Pi's firmware, asked through its mailbox: what `vcgencmd` does, without a process."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from pathlib import Path

from edgeopt_agent.errors import Unavailable

# _IOWR(100, 0, char *) and the tag, as in raspberrypi/utils, vcgencmd/vcgencmd.c.
_REQUEST = 3 << 30 | struct.calcsize("P") << 16 | 100 << 8
_GET_GENCMD_RESULT = 0x00030080
# The message's size and code, then the tag's: id, buffer's size, length, error.
_HEADER = struct.Struct("=6I")
_TEXT_BYTES = 1024
_END_TAG = bytes(4)


class Firmware:
    """The mailbox, kept open."""

    def __init__(self, path: Path) -> None:
        """Opens the node, which is /dev/vcio.

        Raises:
            OSError: when it is missing or denied.
        """
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def find(cls, root: Path) -> Firmware:
        """Opens the node below `root`.

        Raises:
            Unavailable: when it is missing or denied.
        """
        path = root / "dev/vcio"
        try:
            return cls(path)
        except PermissionError:
            raise Unavailable(
                f"{path}: permission denied; the agent's user must be in its group, usually video"
            ) from None
        except OSError:
            raise Unavailable("no Raspberry Pi: its firmware's /dev/vcio is missing") from None

    def gencmd(self, command: str) -> str:
        """What the firmware answers to a command, such as "get_throttled".

        Raises:
            OSError: when the firmware cannot be asked.
            ValueError: when it refuses the command, or the command is too long.
        """
        return self._ask(command).partition("\0")[0].strip()

    def lines(self, command: str) -> list[str]:
        """An answer of several lines, which end with a newline or NUL.

        The last may be what a short answer left of the command.

        Raises:
            OSError: when the firmware cannot be asked.
            ValueError: when it refuses the command, or the command is too long.
        """
        return [line.strip() for line in re.split(r"[\0\n]", self._ask(command)) if line.strip()]

    def close(self) -> None:
        os.close(self._fd)

    def _ask(self, command: str) -> str:
        text = command.encode()
        if len(text) + 1 >= _TEXT_BYTES:
            raise ValueError(
                f"a firmware command has less than {_TEXT_BYTES} bytes, not {len(text)}"
            )
        size = _HEADER.size + _TEXT_BYTES + len(_END_TAG)
        header = _HEADER.pack(size, 0, _GET_GENCMD_RESULT, _TEXT_BYTES, 0, 0)
        message = bytearray(header + text.ljust(_TEXT_BYTES, b"\0") + _END_TAG)
        fcntl.ioctl(self._fd, _REQUEST, message)
        error = _HEADER.unpack_from(message)[-1]
        if error:
            raise ValueError(f"the firmware refuses {command!r} with error {error}")
        return message[_HEADER.size : _HEADER.size + _TEXT_BYTES].decode("utf-8", "replace")
