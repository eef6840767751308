"""What can go wrong on the host.

    EdgeoptError             could not measure or make; exit code 4
    ├── UsageError           used wrongly: an option, a path, an unknown device; exit code 2
    ├── ModelFileError       a file that is no model
    ├── StoreError           the results' database
    ├── DeviceError          what an agent answered, or that none did
    │   ├── Unreachable      no agent answers at this address
    │   ├── OutcomeUnknown   it refuses, and may have done before what it was asked for
    │   └── Untrusted        something answers, but the two do not trust each other
    └── Cancelled            stopped by the user; exit code 130

Messages are one sentence: what was seen, what was expected, what to do. Only the CLI exits.
"""

from __future__ import annotations

from collections.abc import Mapping


class EdgeoptError(Exception):
    """Base of all errors that edgeopt raises on purpose."""

    exit_code = 4
    reason = "FAILED"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class UsageError(EdgeoptError):
    exit_code = 2
    reason = "USAGE"


class ModelFileError(EdgeoptError):
    reason = "MODEL_INVALID"


class StoreError(EdgeoptError):
    reason = "STORE"


class DeviceError(EdgeoptError):
    reason = "DEVICE"

    def __init__(
        self,
        message: str,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason)
        # What the agent said besides, in google.rpc.ErrorInfo.
        self.metadata = dict(metadata or {})


class Unreachable(DeviceError):
    reason = "UNREACHABLE"


class OutcomeUnknown(DeviceError):
    reason = "OUTCOME_UNKNOWN"


class Untrusted(DeviceError):
    reason = "DEVICE_UNTRUSTED"


class Cancelled(EdgeoptError):
    exit_code = 130
    reason = "CANCELLED"


def partner_failed(why: str) -> DeviceError:
    """Of a model that has no figures because another of the same comparison failed."""
    return DeviceError(
        f"it was to be measured in turns with another model, which failed: {why}", "PARTNER_FAILED"
    )
