"""Device state around and between the timed blocks: temperature, clock, throttling."""

from __future__ import annotations

import os
import time

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_agent import sensors
from edgeopt_agent.sensors import Quantity

Moment = benchmark_pb2.StateReading.Moment

_STATE = {
    Quantity.TEMPERATURE_CELSIUS,
    Quantity.CLOCK_HZ,
    Quantity.THROTTLE_FLAGS,
    Quantity.THROTTLE_COUNT,
}


class StateReader:
    """Reads all sensors at the start and the end, and the cheap ones that tell state in between.

    Power and battery gauges sit behind slow buses: reading them between blocks would disturb
    the blocks.
    """

    def __init__(self) -> None:
        self._all = sensors.working()
        self._state = [s for s in self._all if {c.quantity for c in s.channels} <= _STATE]
        self._next_ns: dict[str, int] = {}
        try:
            self._schedstat = os.open("/proc/self/schedstat", os.O_RDONLY)
        except OSError:
            self._schedstat = -1

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
        return reading
