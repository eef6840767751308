"""A third party's runtime, found through its entry point. Its models are the names of faults.

A model "attempts" has a line per attempt after it, see edgeopt_hostile.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgeopt_hostile
import numpy as np

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_agent.runtimes import Placement, Runtime, RuntimeInfo, Session, Settings, TensorSpec


class FaultySession(Session):
    inputs = (TensorSpec("x", (2,), "float32"),)

    def __init__(self, fault: str, lines: list[str]) -> None:
        self._fault = fault
        self._lines = lines

    def prepare(self, feeds: Mapping[str, Any]) -> None:
        self._x = feeds["x"]
        self.infer = getattr(self, f"_{self._fault}", self._none)

    def outputs(self) -> tuple[dict[str, Any], list[str]]:
        if self._fault == "attempts":
            return {line: np.array(edgeopt_hostile.attempt(line)) for line in self._lines}, []
        if self._fault == "large":
            return {"y": np.zeros(2**30 + 1, np.uint8)}, []
        if self._fault == "link":
            # In the place of the outputs, for the agent to follow.
            Path("outputs.npz").symlink_to(self._lines[0])
            self._report(outputs=benchmark_pb2.Outputs())
            os._exit(0)
        return {"y": self._x * 2}, ["a sequence"]

    def placement(self) -> Placement:
        return Placement()

    def _none(self) -> None:
        time.sleep(0.0005)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _illegal(self) -> None:
        os.kill(os.getpid(), signal.SIGILL)

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _hang(self) -> None:
        # A child that outlives its parent would keep the device busy.
        with contextlib.suppress(PermissionError):
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)

    def _exit(self) -> None:
        sys.stderr.write("going home\n")
        sys.stderr.flush()
        os._exit(3)

    def _silent(self) -> None:
        os._exit(0)

    def _garbage(self) -> None:
        # As a runtime does that closes and reuses descriptors which are not its own.
        os.write(self._events(), b"\x08\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff")
        time.sleep(600)

    def _escape(self) -> None:
        # A daemon of its own session, which keeps what it was given open.
        sleep = [sys.executable, "-c", "import time; time.sleep(30)"]
        with contextlib.suppress(PermissionError):
            subprocess.Popen(sleep, start_new_session=True, pass_fds=[self._events()])
        os._exit(3)

    @staticmethod
    def _events() -> int:
        return int(sys.argv[sys.argv.index("--events") + 1])

    def _fast(self) -> None:
        pass

    def _raise(self) -> None:
        raise RuntimeError("the operator is\n out of order")

    def _memory(self) -> None:
        kept = []
        while True:
            kept.append(np.ones(2**22))

    def _threads(self) -> None:
        threads = []
        try:
            while True:
                threads.append(threading.Thread(target=time.sleep, args=(600,), daemon=True))
                threads[-1].start()
        except RuntimeError as error:
            raise RuntimeError(f"{error} after {len(threads)}") from error

    def _native_memory(self) -> None:
        # As a C++ runtime ends when nobody catches its exception.
        sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
        sys.stderr.flush()
        os.abort()

    def _torrent(self) -> None:
        while True:
            os.write(2, b"z" * 2**20)

    def _events_flood(self) -> None:
        progress = benchmark_pb2.Progress(inferences=1)
        while True:
            self._report(progress=progress)

    def _events_large(self) -> None:
        message = benchmark_pb2.BenchmarkWarning(code="NOISY", message="x" * 3_000_000)
        while True:
            self._report(warning=message)

    def _events_hollow(self) -> None:
        # Four bytes each, and in whoever reads them a hundred.
        empty = benchmark_pb2.StateReadings(readings=[benchmark_pb2.StateReading()] * 1_000_000)
        while True:
            self._report(state=empty)

    def _event_endless(self) -> None:
        os.write(self._events(), b"\xff\xff\xff\xff")
        while True:
            os.write(self._events(), b"\0" * 2**20)

    def _liar(self) -> None:
        failure = benchmark_pb2.Failure(reason="not a reason", message="m" * 1_000_000)
        self._report(benchmark=benchmark_pb2.Benchmark(failure=failure))
        time.sleep(600)

    def _forger(self) -> None:
        digest = blob_pb2.Digest(sha256="0" * 64, size_bytes=1)
        self._report(progress=benchmark_pb2.Progress(phase=99), sequence=4)  # type: ignore[arg-type]
        self._report(outputs=benchmark_pb2.Outputs(file=digest))

    def _meddler(self) -> None:
        # What is for others to say.
        digest = blob_pb2.Digest(sha256="0" * 64, size_bytes=1)
        self._report(look=benchmark_pb2.Look(launch=3))
        self._report(turn=benchmark_pb2.Turn(timed_ns=10**12, inferences=10**6))
        self._report(energy=benchmark_pb2.EnergyReadings(time_ns=[1, 2]))
        self._report(predictions=benchmark_pb2.Predictions(file=digest, examples=1))
        self._report(profile=benchmark_pb2.Profile(inferences=1))
        self._none()

    def _thief(self) -> None:
        # Ends turns that it does not have, so that the launch is over before the others' share.
        self._report(turn=benchmark_pb2.Turn(timed_ns=10**12, inferences=10**6))
        self._none()

    def _report(self, **event: Any) -> None:
        data = benchmark_pb2.BenchmarkEvent(launch=77, **event).SerializeToString()
        view = memoryview(struct.pack("<I", len(data)) + data)
        while view:
            view = view[os.write(self._events(), view) :]

    def _flood(self) -> None:
        sys.stdout.write("x" * 4096)
        sys.stderr.write("y" * 4096)


class Faulty(Runtime):
    info = RuntimeInfo("edgeopt-faulty", "1.0", ())

    def open(self, model: Path, settings: Settings) -> Session:  # noqa: ARG002
        # What follows the first word makes a model large, or another one.
        text = model.read_text()
        return FaultySession((text.split() or [""])[0], text.splitlines()[1:])
