"""A network between host and agent that does what networks do: it cuts, stalls, delays, corrupts."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_PIECE_BYTES = 2**16


class Proxy:
    """Hands bytes on to an agent, from any thread told how.

    Args:
        host: where the agent listens.
        port: the same.
        cut_after_bytes: the connection that has sent so many to the agent is cut, once.
        stall_after_bytes: from so many sent to the agent on nothing passes, until `heal`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        cut_after_bytes: int | None = None,
        stall_after_bytes: int | None = None,
    ) -> None:
        self._target = (host, port)
        self.cut_after_bytes = cut_after_bytes
        self.stall_after_bytes = stall_after_bytes
        self.sent_bytes = 0
        self.connections = 0
        self._delay_s = 0.0
        self._corrupt_pieces = 0
        self._is_cut = False
        self._flowing = threading.Event()
        self._flowing.set()
        self.stalled = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @classmethod
    def to(cls, address: str, **settings: int) -> Self:
        """One to an agent's address, "HOST:PORT"."""
        host, _, port = address.rpartition(":")
        return cls(host, int(port), **settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        _end(self._listener)
        self.cut()
        self._flowing.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def cut(self) -> None:
        """Ends all connections; new ones end at once, until `heal`."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                _end(one)

    def stall(self) -> None:
        """Nothing passes, and nobody is told, until `heal`."""
        self._flowing.clear()
        self.stalled.set()

    def delay(self, seconds: float) -> None:
        """Each piece takes so much longer, both ways."""
        self._delay_s = seconds

    def corrupt(self, pieces: int = 1) -> None:
        """Damages the next pieces on their way to the agent."""
        with self._lock:
            self._corrupt_pieces = pieces

    def heal(self) -> None:
        """All is well from now on; what was cut stays cut."""
        with self._lock:
            self._is_cut = False
            self._corrupt_pieces = 0
            self._delay_s = 0.0
            self.stall_after_bytes = None
        self.stalled.clear()
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with self._lock:
                    self.connections += 1
                    refused = self._is_cut
                far = None if refused else self._connect()
                if far is None:
                    _end(near)
                    near.close()
                    continue
                with self._lock:
                    self._open |= {near, far}
                left = [2]
                for source, sink, upstream in ((near, far, True), (far, near, False)):
                    thread = threading.Thread(
                        target=self._hand_on, args=(source, sink, upstream, left), daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _connect(self) -> socket.socket | None:
        try:
            return socket.create_connection(self._target)
        except OSError:
            return None

    def _hand_on(
        self, source: socket.socket, sink: socket.socket, upstream: bool, left: list[int]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                if self._delay_s:
                    time.sleep(self._delay_s)
                self._flowing.wait()
                sink.sendall(self._damaged(data) if upstream else data)
                if upstream and self._counted(len(data)):
                    break
        for one in (source, sink):
            _end(one)
        with self._lock:
            left[0] -= 1
            if not left[0]:
                self._open -= {source, sink}
                source.close()
                sink.close()

    def _counted(self, length: int) -> bool:
        """Counts what the agent got; whether this connection is to be cut."""
        with self._lock:
            self.sent_bytes += length
            if self.stall_after_bytes is not None and self.sent_bytes > self.stall_after_bytes:
                self.stall()
            if self.cut_after_bytes is not None and self.sent_bytes > self.cut_after_bytes:
                self.cut_after_bytes = None
                return True
        return False

    def _damaged(self, data: bytes) -> bytes:
        with self._lock:
            if not self._corrupt_pieces:
                return data
            self._corrupt_pieces -= 1
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
