"""What this user is called where devices show who holds them."""

from __future__ import annotations

import getpass
import re
import socket

# The longest that a certificate's common name may be.
MAX_NAME = 64


def client_name() -> str:
    """`user@hostname`, in ASCII and at most 64 characters."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without an entry, as in containers
        user = "unknown"
    name = f"{user}@{socket.gethostname().partition('.')[0]}"
    return re.sub(r"[^!-~]", "-", name)[:MAX_NAME]
