"""Device state around and between the timed blocks: temperature, clock, throttling, neighbours."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_agent import sensors
from edgeopt_agent.sensors import Quantity
from edgeopt_agent.worker import canary

Moment = benchmark_pb2.StateReading.Moment

_STATE = {
    Quantity.TEMPERATURE_CELSIUS,
    Quantity.CLOCK_HZ,
    Quantity.THROTTLE_FLAGS,
    Quantity.THROTTLE_COUNT,
}
# The kernel makes the whole of /proc/stat, a line per core and interrupt, for each read of it.
_NEIGHBOURS_NS = 500_000_000
# The host says that a device has become slower when the canary takes so much longer than at the
# start twice in a row, or at the end. What neighbours do to a core is mostly over within the
# patience (docs/concepts/validity.md); after the last block nothing is measured any more.
_SLOWER = 1.1
_PATIENCE_NS = 300_000_000
_LAST_PATIENCE_NS = 1_000_000_000
_DOUBT_NS = 1_000_000_000
_STEAL_FIELD = 8


class StateReader:
    """Reads all sensors at the start and the end, and the cheap ones that tell state in between.

    Power and battery gauges sit behind slow buses: reading them between blocks would disturb
    the blocks.

    Args:
        canary_interval_ns: how often to time the canary between blocks, besides at the start and
            the end; 0: never at all.
        root: "/", or a recorded tree.
    """

    def __init__(self, canary_interval_ns: int = 0, root: Path = Path("/")) -> None:
        self._canary_interval_ns = canary_interval_ns
        self._canary_start_ns = 0
        self._canary_next_ns = 0
        self._all = sensors.working(root)
        self._state = [s for s in self._all if {c.quantity for c in s.channels} <= _STATE]
        self._next_ns: dict[str, int] = {}
        self._schedstat = _open(root / "proc/self/schedstat")
        self._loadavg = _open(root / "proc/loadavg")
        self._stat = _open(root / "proc/stat")
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._neighbours_next_ns = 0

    def read(self, moment: Moment) -> benchmark_pb2.StateReading:
        """One reading; channels whose sensor has nothing new yet are left out."""
        now = time.monotonic_ns()
        reading = benchmark_pb2.StateReading(
            moment=moment,
            sensors=device_pb2.SensorSample(time_ns=now),
            thread_cpu_ns=time.thread_time_ns(),
        )
        between = moment == benchmark_pb2.StateReading.MOMENT_BETWEEN_BLOCKS
        for sensor in self._state if between else self._all:
            if between and now < self._next_ns.get(sensor.channels[0].name, 0):
                continue
            self._next_ns[sensor.channels[0].name] = now + sensor.min_interval_ns
            reading.sensors.values.extend(sensors.values(sensor))
        if self._schedstat >= 0:
            # "time on the CPU, time waiting for one, time slices": Documentation/scheduler.
            reading.cpu_wait_ns = int(os.pread(self._schedstat, 64, 0).split()[1])
        if not between or now >= self._neighbours_next_ns:
            self._neighbours_next_ns = now + _NEIGHBOURS_NS
            self._read_neighbours(reading)
        if self._canary_interval_ns and (not between or now >= self._canary_next_ns):
            reading.canary_ns = self._time_canary(between=between)
        return reading

    def _read_neighbours(self, reading: benchmark_pb2.StateReading) -> None:
        """Documentation/filesystems/proc.rst, /proc/loadavg and /proc/stat."""
        if self._loadavg >= 0:
            # "0.20 0.18 0.12 1/80 11206": the fourth is running of all.
            running = os.pread(self._loadavg, 128, 0).split()[3]
            reading.runnable = int(running.partition(b"/")[0])
        if self._stat >= 0:
            # "cpu user nice system idle iowait irq softirq steal …", in ticks, of all cores.
            ticks = os.pread(self._stat, 512, 0).partition(b"\n")[0].split()
            if len(ticks) > _STEAL_FIELD:
                reading.steal_ns = int(ticks[_STEAL_FIELD]) * self._tick_ns

    def _time_canary(self, *, between: bool) -> int:
        now = time.monotonic_ns()
        self._canary_next_ns = now + self._canary_interval_ns
        if not self._canary_start_ns:
            self._canary_start_ns = canary.first()
            return self._canary_start_ns
        good_ns = _SLOWER * self._canary_start_ns
        quickest = canary.measure_until(good_ns, _PATIENCE_NS if between else _LAST_PATIENCE_NS)
        if quickest > good_ns:
            self._canary_next_ns = now + min(self._canary_interval_ns, _DOUBT_NS)
        return quickest


def _open(path: Path) -> int:
    """A descriptor to keep; -1 where the kernel does not tell, or not this user (Android)."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
