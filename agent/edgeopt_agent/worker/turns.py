"""When a worker may use the device: alone on it always, else whenever its agent says so."""

from __future__ import annotations

import os
from collections.abc import Callable

from edgeopt.agent.v1 import benchmark_pb2

# What the agent writes into a worker's pipe, one byte per turn.
GO = b"g"
END = b"e"

_Emit = Callable[[benchmark_pb2.BenchmarkEvent], None]


class Turns:
    """Turns of a worker beside others: load, warm up, one block after the other, a last look around.

    Args:
        descriptor: of the pipe that the agent writes to; None without others, when every turn is
            this worker's.
        emit: takes the event that ends a turn.
    """

    def __init__(self, descriptor: int | None, emit: _Emit) -> None:
        self._descriptor = descriptor
        self._emit = emit

    @property
    def alternate(self) -> bool:
        """Whether there are others."""
        return self._descriptor is not None

    def begin(self) -> bool:
        """Sleeps until it is this worker's turn; False when it has had its last."""
        if self._descriptor is None:
            return True
        return os.read(self._descriptor, 1) == GO

    def end(self, timed_ns: int = 0, inferences: int = 0) -> None:
        """Hands the device on; tells how long was timed, and how many inferences."""
        if self._descriptor is not None:
            turn = benchmark_pb2.Turn(timed_ns=timed_ns, inferences=inferences)
            self._emit(benchmark_pb2.BenchmarkEvent(turn=turn))
