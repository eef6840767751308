"""Names of runs."""

from __future__ import annotations

import secrets
import time

# Crockford's: digits and letters sort as they count, and no letter looks like a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = 6
_EPOCH_S = 1_767_225_600  # 2026-01-01 UTC

ID_LENGTH = 2 * _DIGITS


def new_id(now_s: float | None = None) -> str:
    """A new run's id: 12 lower-case letters and digits, six of the second and six of chance.

    Ids sort by the time they were made at (until 2060), so the database grows at its end, and
    two within one second are the same with a chance of 1 in 10⁹.
    """
    second = int(time.time() if now_s is None else now_s) - _EPOCH_S
    return _base32(max(second, 0)) + _base32(secrets.randbits(5 * _DIGITS))


def id_range(prefix: str) -> tuple[str, str]:
    """The first and the last id that start with a prefix, as any collation sorts them."""
    return prefix, prefix.ljust(ID_LENGTH, _ALPHABET[-1])


def _base32(number: int) -> str:
    return "".join(_ALPHABET[number >> 5 * i & 31] for i in reversed(range(_DIGITS)))
