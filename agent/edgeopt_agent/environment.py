"""The variables of the processes that the agent starts."""

from __future__ import annotations

import os
import re

# Names of what opens something else: no model and no runtime's package needs to know it.
_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|DATABASE_URL|DSN$|(^|_)(KEY|AUTH|COOKIE)(_|$)|^SSH_|^DBUS_",
    re.IGNORECASE,
)


def child_environment() -> dict[str, str]:
    """For every Python process the agent starts: nothing is imported from where it stands."""
    return {
        **{name: value for name, value in os.environ.items() if not _SECRET.search(name)},
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
