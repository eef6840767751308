"""What a device is, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from edgeopt.agent.v1 import agent_pb2, device_pb2
from edgeopt_host import _enums
from edgeopt_host._text import plain
from edgeopt_host.inventory import Device
from edgeopt_host.report import _units, status
from edgeopt_host.report._console import Cell, grid, is_terminal, section, table, to_text

SCHEMA = "edgeopt.device/1"

_WORDS = {
    "temperature_celsius": "temperature",
    "clock_hz": "clock",
    "power_mw": "power",
    "energy_mj": "energy",
    "voltage_mv": "voltage",
    "current_ma": "current",
    "throttle_flags": "throttle flags",
    "throttle_count": "throttle count",
    "charging": "charging",
    # What a newer agent may measure.
    "unknown": "something this host does not know",
}


@dataclass(frozen=True)
class Answer:
    """What a device said, as far as it did.

    Args:
        device: from the inventory.
        facts: what it is.
        status: what it does; None from an agent that is too old to tell.
        error: (reason, message) of one that is silent.
    """

    device: Device
    facts: device_pb2.Device | None = None
    status: agent_pb2.GetStatusResponse | None = None
    error: tuple[str, str] | None = None


def document(answer: Answer) -> dict[str, Any]:
    """The document `edgeopt.device/1`; null where the device does not tell."""
    return {"schema": SCHEMA, **entry(answer)}


def entry(answer: Answer) -> dict[str, Any]:
    """A device's inventory entry, facts and status."""
    device, facts, error = answer.device, answer.facts, answer.error
    return {
        "name": device.name,
        "address": device.address or None,
        "tags": list(device.tags),
        "enrolled": device.identity is not None,
        "reachable": facts is not None,
        "error": None if error is None else {"reason": error[0], "message": error[1]},
        "facts": None if facts is None else _facts(facts),
        "status": None if answer.status is None else status.entry(answer.status),
        "trouble": status.troubles(facts, answer.status),
    }


def render_document(content: Mapping[str, Any]) -> str:
    """Strict JSON."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def render_facts(
    device: Device,
    facts: device_pb2.Device,
    state: agent_pb2.GetStatusResponse | None = None,
) -> str:
    """Everything a device tells of itself."""
    where = plain(device.address) or "built in"
    tags = f", tags {', '.join(device.tags)}" if device.tags else ""
    rows: list[tuple[str, Cell]] = [*_rows(facts), ("Enrolled", status.enrolled(device))]
    if state is not None:
        rows.append(("Doing", plain(status.doing(state))))
    rows += [
        ("Trouble", Text.assemble((plain(trouble), "yellow")))
        for trouble in status.troubles(facts, state)
    ]
    parts = [
        section(Text(plain(device.name)), where + tags, grid(rows)),
        Text(""),
        _runtimes(facts.runtimes),
        Text(""),
        _sensors(facts.sensors),
    ]
    return to_text(*parts)


def _facts(facts: device_pb2.Device) -> dict[str, Any]:
    return {
        "agent_version": facts.agent_version or None,
        "board": {"model": facts.board.model or None, "source": facts.board.source or None},
        "cpu": {
            "model": facts.cpu.model or None,
            "architecture": facts.cpu.architecture or None,
            "logical_cores": facts.cpu.logical_cores or None,
            "physical_cores": facts.cpu.physical_cores or None,
            "performance_cores": facts.cpu.performance_cores or None,
            "usable_cores": facts.cpu.usable_cores or None,
            "clusters": [
                {
                    "cores": list(cluster.cores),
                    "min_hz": cluster.min_hz or None,
                    "max_hz": cluster.max_hz or None,
                    "governor": cluster.governor or None,
                    "model": cluster.model or None,
                }
                for cluster in facts.cpu.clusters
            ],
        },
        "memory": {
            "total_bytes": facts.memory.total_bytes or None,
            "limit_bytes": facts.memory.limit_bytes or None,
            "available_bytes": facts.memory.available_bytes or None,
        },
        "os": {
            "name": facts.os.name or None,
            "kernel": facts.os.kernel or None,
            "python": facts.os.python or None,
        },
        "emulated": facts.emulated,
        "emulator": facts.emulator or None,
        "runtimes": [
            {
                "name": runtime.name,
                "implementation": runtime.implementation or None,
                "version": runtime.version or None,
                "providers": list(runtime.providers),
                "unavailable_reason": runtime.unavailable_reason or None,
            }
            for runtime in facts.runtimes
        ],
        "sensors": [
            {
                "name": sensor.name,
                "channels": [
                    {
                        "name": channel.name,
                        "quantity": _quantity(channel),
                        "scope": _scope(channel),
                        "gain_error": channel.gain_error or None,
                        "averaged": channel.averaged,
                        "wraps_at": channel.wraps_at or None,
                    }
                    for channel in sensor.channels
                ],
                "min_interval_ns": sensor.min_interval_ns or None,
                "unavailable_reason": sensor.unavailable_reason or None,
                "slow": sensor.slow,
            }
            for sensor in facts.sensors
        ],
        "storage_free_bytes": facts.storage_free_bytes,
        "confinement": {
            "mechanisms": list(facts.confinement.mechanisms),
            "missing": list(facts.confinement.missing),
        },
        "allowed_code": list(facts.allowed_code),
        "features": list(facts.features),
    }


def _rows(facts: device_pb2.Device) -> Iterable[tuple[str, Cell]]:
    board = plain(facts.board.model) or "unknown"
    source = f" (says {plain(facts.board.source)})" if facts.board.model else ""
    yield "Board", board + source
    if facts.emulated:
        what = f" by {plain(facts.emulator)}" if facts.emulator else ""
        warning = f"yes{what}: its latencies say nothing about a real board"
        yield "Emulated", Text.assemble((warning, "yellow"))
    cpu = facts.cpu
    yield "CPU", ", ".join(part for part in (plain(cpu.model), plain(cpu.architecture)) if part)
    cores = f"{cpu.logical_cores} logical, {cpu.physical_cores} physical"
    yield (
        "Cores",
        f"{cores}, {cpu.usable_cores} usable, {cpu.performance_cores} of the fastest kind",
    )
    for cluster in cpu.clusters:
        yield "Cluster", _cluster(cluster)
    memory = facts.memory
    limit = f", limited to {_units.size(memory.limit_bytes)}" if memory.limit_bytes else ""
    free = f", {_units.size(memory.available_bytes)} available" if memory.available_bytes else ""
    yield "Memory", f"{_units.size(memory.total_bytes)}{limit}{free}"
    yield "Storage", f"{_units.size(facts.storage_free_bytes)} free for models and data"
    yield "System", ", ".join(plain(part) for part in (facts.os.name, facts.os.kernel) if part)
    yield "Agent", f"{plain(facts.agent_version)}, Python {plain(facts.os.python)}"
    yield "Confinement", _confinement(facts)
    code = plain(", ".join(facts.allowed_code))
    yield "Model code", f"allowed: {code}" if code else "refused: models are data"


def _confinement(facts: device_pb2.Device) -> Text:
    """What keeps a model from doing harm, and why it is not more."""
    text = Text(plain(", ".join(facts.confinement.mechanisms)) or "none")
    if not facts.confinement.mechanisms:
        text.stylize("yellow")
    if facts.confinement.missing:
        text.append(f" ({plain('; '.join(facts.confinement.missing))})", style="dim")
    return text


def _cluster(cluster: device_pb2.CpuCluster) -> str:
    parts = [f"cores {_ranges(cluster.cores)}"]
    if cluster.model:
        parts.append(plain(cluster.model))
    if cluster.max_hz:
        low = f"{cluster.min_hz / 1e6:.0f} to " if cluster.min_hz else ""
        parts.append(f"{low}{cluster.max_hz / 1e6:.0f} MHz")
    parts.append(f"governor {plain(cluster.governor) or 'unknown'}")
    return ", ".join(parts)


def _ranges(cores: Sequence[int]) -> str:
    """[0, 1, 2, 3, 6] as "0-3, 6"."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _runtimes(runtimes: Iterable[device_pb2.RuntimeFacts]) -> RenderableType:
    rows: list[list[Cell]] = []
    for runtime in runtimes:
        if runtime.unavailable_reason:
            why = f"unusable: {plain(runtime.unavailable_reason)}"
            rows.append([plain(runtime.name), "", Text.assemble((why, "yellow"))])
        else:
            package = f"{plain(runtime.implementation)} {plain(runtime.version)}".strip()
            rows.append([plain(runtime.name), package, plain(", ".join(runtime.providers))])
    columns = [("Runtime", "whole"), ("Version", "whole"), ("Executes on", "wrap")]
    return table(columns, rows, boxed=is_terminal()) if rows else Text("no runtimes")


def _sensors(sensors: Iterable[device_pb2.SensorFacts]) -> RenderableType:
    rows: list[list[Cell]] = []
    for sensor in sensors:
        if sensor.unavailable_reason:
            why = f"unavailable: {plain(sensor.unavailable_reason)}"
            rows.append([plain(sensor.name), "", Text.assemble((why, "dim"))])
        else:
            every = _units.duration(sensor.min_interval_ns / 1e6) if sensor.min_interval_ns else ""
            rows.append([plain(sensor.name), every, _channels(sensor)])
    columns = [("Sensor", "whole"), ("Fastest", "right"), ("Measures", "wrap")]
    return table(columns, rows, boxed=is_terminal()) if rows else Text("no sensors")


def _quantity(channel: device_pb2.SensorChannel) -> str:
    return _enums.name(device_pb2.SensorChannel.Quantity, channel.quantity, "QUANTITY_")


def _channels(sensor: device_pb2.SensorFacts) -> str:
    names: dict[str, list[str]] = {}
    for channel in sensor.channels:
        quantity = _quantity(channel)
        quantity = _WORDS.get(quantity, quantity)
        names.setdefault(quantity, []).append(plain(channel.name))
    return "; ".join(f"{quantity} of {', '.join(of)}" for quantity, of in names.items())


def _scope(channel: device_pb2.SensorChannel) -> str | None:
    if channel.scope == device_pb2.SensorChannel.SCOPE_UNSPECIFIED:
        return None
    return _enums.name(device_pb2.SensorChannel.Scope, channel.scope, "SCOPE_")
