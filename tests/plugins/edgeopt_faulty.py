"""A third party's runtime, found through its entry point. Its models are the names of faults."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_agent.runtimes import Placement, Runtime, RuntimeInfo, Session, Settings, TensorSpec


class FaultySession(Session):
    inputs = (TensorSpec("x", (2,), "float32"),)

    def __init__(self, fault: str) -> None:
        self._fault = fault

    def prepare(self, feeds: Mapping[str, Any]) -> None:
        self._x = feeds["x"]
        self.infer = getattr(self, f"_{self._fault}", self._none)

    def outputs(self) -> tuple[dict[str, Any], list[str]]:
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

    def _flood(self) -> None:
        sys.stdout.write("x" * 4096)
        sys.stderr.write("y" * 4096)


class Faulty(Runtime):
    info = RuntimeInfo("edgeopt-faulty", "1.0", ())

    def open(self, model: Path, settings: Settings) -> Session:  # noqa: ARG002
        return FaultySession(model.read_text().strip())
