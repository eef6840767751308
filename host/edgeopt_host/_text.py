"""Text that came from elsewhere, such as a device or a model's name."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """One line, without what would control the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m[0]):02x}", text)


def plain_lines(text: str) -> str:
    """The same of a text of several lines."""
    return "\n".join(map(plain, text.split("\n")))
