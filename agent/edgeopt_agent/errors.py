"""What can go wrong on the device.

    AgentError
    ├── InvalidArgument      a request that can never succeed
    ├── NotFound             no such benchmark or blob
    ├── FailedPrecondition   not in this state: a missing blob, a wrong write offset
    ├── ResourceExhausted    no room: disk, quota, queue
    ├── Unauthenticated      a wrong enrolment token
    ├── PermissionDenied     a client that may not do this
    ├── DeadlineExceeded     a client that stalls
    ├── Stopping             the agent is about to end; ask again when it is back
    ├── StorageError         the state directory: full, read-only, from a newer agent
    └── WorkerError          a launch that gave no result

    Unavailable              a sensor, a runtime or a profile that this device does not offer

Messages are one sentence: what was seen, what was expected, what to do. Reasons are upper snake
case and listed in docs/reference/errors.md.
"""

from __future__ import annotations


class AgentError(Exception):
    """Carries what google.rpc.ErrorInfo carries: a reason, a sentence and metadata."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata


class InvalidArgument(AgentError):
    pass


class NotFound(AgentError):
    pass


class FailedPrecondition(AgentError):
    pass


class ResourceExhausted(AgentError):
    pass


class Unauthenticated(AgentError):
    pass


class PermissionDenied(AgentError):
    pass


class DeadlineExceeded(AgentError):
    pass


class StorageError(AgentError):
    pass


class Stopping(AgentError):
    pass


class WorkerError(AgentError):
    pass


class Unavailable(Exception):
    """Says why something is not offered here; the text goes into the device's facts."""
