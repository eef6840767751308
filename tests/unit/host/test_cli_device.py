from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command_line import CommandLine, command_line
from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, device_pb2
from edgeopt_host.errors import DeviceError, Unreachable
from edgeopt_host.inventory import Device, Inventory

_Channel = device_pb2.SensorChannel


def _facts() -> device_pb2.Device:
    return device_pb2.Device(
        agent_version="0.1.0",
        board=device_pb2.Board(model="Raspberry Pi 5 Model B", source="device-tree"),
        cpu=device_pb2.Cpu(
            model="Cortex-A76",
            architecture="aarch64",
            logical_cores=6,
            physical_cores=6,
            performance_cores=2,
            usable_cores=4,
            clusters=[
                device_pb2.CpuCluster(
                    cores=[0, 1, 2, 3],
                    min_hz=600_000_000,
                    max_hz=1_800_000_000,
                    governor="ondemand",
                    model="Cortex-A55",
                ),
                device_pb2.CpuCluster(cores=[4, 6]),
            ],
        ),
        memory=device_pb2.Memory(total_bytes=8 * 2**30, limit_bytes=2**30, available_bytes=2**29),
        os=device_pb2.OperatingSystem(name="Debian 12", kernel="6.6.31", python="3.11.2"),
        emulated=True,
        emulator="qemu-user",
        runtimes=[
            device_pb2.RuntimeFacts(
                name="onnx",
                implementation="onnxruntime",
                version="1.23.2",
                providers=["CPUExecutionProvider"],
            ),
            device_pb2.RuntimeFacts(name="ptl", unavailable_reason="torch is not installed"),
        ],
        sensors=[
            device_pb2.SensorFacts(
                name="thermal",
                channels=[
                    _Channel(name="cpu", quantity=_Channel.QUANTITY_TEMPERATURE_CELSIUS),
                    _Channel(
                        name="VDD_IN",
                        quantity=_Channel.QUANTITY_POWER_MW,
                        scope=_Channel.SCOPE_INPUT,
                        gain_error=0.015,
                    ),
                    _Channel(name="new", quantity=99, scope=99),  # type: ignore[arg-type]
                ],
                min_interval_ns=100_000_000,
            ),
            device_pb2.SensorFacts(name="rapl", unavailable_reason="no RAPL domain"),
        ],
        storage_free_bytes=3 * 2**30,
        confinement=device_pb2.Confinement(
            mechanisms=["landlock", "rlimits"], missing=["bubblewrap is not installed"]
        ),
        allowed_code=["delegates"],
        features=["looks"],
    )


def _status(*, years: float = 0) -> agent_pb2.GetStatusResponse:
    """A device with a lot going on, whose clock is years ahead."""
    now_s = int(time.time() + years * 365 * 86400)
    status = agent_pb2.GetStatusResponse(agent_version="0.0.1", unacknowledged_benchmarks=2)
    status.time.FromSeconds(now_s)
    status.certificate_expire_time.FromSeconds(int(time.time()) + 12 * 86400 + 60)
    status.problems.add(reason="STORAGE_FULL", message="the disk of the state directory is full")
    for state, holder, age_s in (("RUNNING", "alice@laptop", 90), ("QUEUED", "ci", 600)):
        benchmark = status.queue.add(
            name=f"benchmarks/{holder}", state=f"STATE_{state}", holder=holder, attempt=1
        )
        benchmark.create_time.FromSeconds(now_s - age_s)
        benchmark.start_time.FromSeconds(now_s - age_s)
    status.queue[0].attempt = 2
    status.lease.MergeFrom(
        agent_pb2.Lease(
            fencing_number=7,
            holder="alice@laptop",
            purpose="night run",
            remaining_ns=(12 * 60 + 1) * 10**9,
        )
    )
    return status


class _Agent:
    def __init__(self) -> None:
        self.refreshed = False
        self.state: agent_pb2.GetStatusResponse | None = agent_pb2.GetStatusResponse()
        self.known: list[benchmark_pb2.Benchmark] = []

    def benchmarks(self) -> list[benchmark_pb2.Benchmark]:
        return self.known

    def acknowledge(self, name: str) -> bool:
        self.known = [b for b in self.known if b.name != name]
        return True

    def device(self, *, refresh: bool = False) -> device_pb2.Device:
        self.refreshed = refresh
        return _facts()

    def status(self) -> agent_pb2.GetStatusResponse:
        if self.state is None:
            raise DeviceError("the agent is older than this host", "AGENT_TOO_OLD")
        return self.state


class _Bench:
    """In place of the client: the addresses at which an agent answers."""

    def __init__(self) -> None:
        self.answering = {""}  # local
        self.agent = _Agent()
        self.busy = False

    @contextlib.contextmanager
    def connect(
        self,
        device: Device,
        timeout_s: float = 5.0,
        on_wait: Callable[[str], None] = lambda _: None,
        stop: threading.Event | None = None,  # noqa: ARG002
    ) -> Iterator[_Agent]:
        if device.name == "local" and self.busy:
            on_wait("another command is using local; waiting for its end")
        if device.address not in self.answering:
            raise Unreachable(
                f"no agent answers at {device.address} within {timeout_s:g} s; is it on?"
            )
        yield self.agent


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> _Bench:
    stub = types.ModuleType("edgeopt_host.client")
    bench = _Bench()
    stub.connect = bench.connect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgeopt_host.client", stub)
    return bench


@pytest.fixture
def call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bench: _Bench,  # noqa: ARG001 - in place of real agents
) -> CommandLine:
    return command_line(tmp_path, monkeypatch, capsys)


def test_adding_checks_first(call: CommandLine, bench: _Bench) -> None:
    done = call("device", "add", "pi5", "localhost", "--tag", "pi")
    assert (done.code, done.out) == (4, "")
    assert done.err == (
        "edgeopt-host: nothing was added (--no-check adds it all the same): "
        "no agent answers at localhost:50551 within 5 s; is it on?\n"
    )
    assert len(Inventory.load().devices) == 1
    bench.answering.add("localhost:50551")
    done = call("device", "add", "pi5", "localhost", "--tag", "pi")
    assert (done.code, done.err) == (0, "added pi5 at localhost:50551\n")
    assert "Raspberry Pi 5 Model B" in done.out
    assert Inventory.load().get("pi5") == Device("pi5", "localhost:50551", ("pi",))


def test_adding_without_a_check(call: CommandLine) -> None:
    assert call("device", "add", "pi5", "localhost:7", "--no-check") == (
        0,
        "",
        "added pi5 at localhost:7\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pi5", "10.0.0.1"), "plain text is never sent off loopback"),
        (("Pi5", "localhost"), "is no device name"),
        (("local", "localhost"), "built in"),
        (("pi5", "localhost", "--tag", "A"), "is no tag"),
        (("pi5",), "give the ADDRESS"),
    ],
)
def test_adding_wrongly(
    call: CommandLine, bench: _Bench, arguments: tuple[str, ...], said: str
) -> None:
    bench.answering.add("localhost:50551")
    done = call("device", "add", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(Inventory.load().devices) == 1


def test_the_list_asks_all(call: CommandLine) -> None:
    call("device", "add", "pi5", "localhost:7", "--tag", "pi", "--tag", "lab", "--no-check")
    done = call("device", "list")
    assert (done.code, done.err) == (0, "")
    local, pi5 = done.out.splitlines()[1:]
    assert local.split()[:3] == ["local", "built", "in"]
    assert "Raspberry Pi 5 Model B (emulated)" in local
    assert "onnx" in local
    assert "ptl" not in local
    assert pi5.split()[:4] == ["pi5", "localhost:7", "pi", "lab"]
    assert pi5.endswith("no agent answers at localhost:7 within 3 s")


def test_a_narrow_list_shows_what_matters_most_and_cuts_nothing(
    call: CommandLine, bench: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    Inventory.load().add("pi5", "192.168.1.40:7", ["lab"], identity="a" * 16)
    bench.agent.state = _status()
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("device", "list").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["Device", "Address", "Runtimes", "Doing", "Trouble"]
    text = " ".join(" ".join(lines).split())
    for words in ("192.168.1.40:7", "busy (alice@laptop),", "its agent is older", "runs resume"):
        assert words in text
    monkeypatch.setenv("COLUMNS", "300")
    assert "Raspberry Pi 5 Model B (emulated)" in call("device", "list").out


def test_the_list_as_json(call: CommandLine, bench: _Bench) -> None:
    call("device", "add", "pi5", "localhost:7", "--no-check")
    bench.busy = True
    document = json.loads(call("device", "list", "--format", "json").out)
    assert document["schema"] == "edgeopt.devices/1"
    local, pi5 = document["devices"]
    assert local["error"] == {"reason": "BUSY", "message": "another command is using local"}
    assert pi5["error"]["reason"] == "UNREACHABLE"
    assert (pi5["address"], pi5["reachable"], pi5["facts"]) == ("localhost:7", False, None)
    bench.busy = False
    local = json.loads(call("device", "list", "--format", "json").out)["devices"][0]
    assert (local["address"], local["reachable"], local["error"]) == (None, True, None)
    assert local["facts"]["board"]["model"] == "Raspberry Pi 5 Model B"


def test_the_list_tells_what_devices_do_and_what_is_wrong(call: CommandLine, bench: _Bench) -> None:
    bench.agent.state = _status(years=-6)
    (line,) = call("device", "list").out.splitlines()[1:]
    for words in (
        "no (this machine)",
        "busy (alice@laptop), 1 waiting (ci), reserved by alice@laptop for 12 min",
        "its agent is older than this host (0.0.1, ",
        "STORAGE_FULL: the disk of the state directory is full",
        "its clock is 6 years behind",
        "its certificate ends in 12 days",
        "2 results not fetched",
    ):
        assert words in line, words
    assert "Trouble" in call("device", "info", "local").out
    local = json.loads(call("device", "list", "--format", "json").out)["devices"][0]
    assert (local["enrolled"], len(local["trouble"])) == (False, 5)
    status = local["status"]
    assert status["queue"][0] == {
        "position": 0,
        "benchmark": "benchmarks/alice@laptop",
        "state": "running",
        "holder": "alice@laptop",
        "since_s": 90,
        "attempt": 2,
    }
    assert status["lease"] == {
        "holder": "alice@laptop",
        "purpose": "night run",
        "remaining_s": 721,
    }
    assert status["problems"][0]["reason"] == "STORAGE_FULL"


def test_an_agent_that_is_too_old_to_tell_still_lists(call: CommandLine, bench: _Bench) -> None:
    bench.agent.state = None
    local = json.loads(call("device", "list", "--format", "json").out)["devices"][0]
    assert (local["reachable"], local["status"], local["error"]) == (True, None, None)
    assert call("device", "info", "local").code == 0


def test_the_queue(call: CommandLine, bench: _Bench) -> None:
    bench.agent.state = _status(years=3)
    heading, first, second, reserved = call("device", "queue", "local").out.splitlines()
    assert heading.split() == ["Benchmark", "State", "Of", "Since", "Attempt"]
    assert first.split() == ["0", "alice@laptop", "running", "alice@laptop", "90", "s", "2"]
    assert second.split() == ["1", "ci", "queued", "ci", "10", "min"]
    assert reserved.startswith("alice@laptop holds local (night run) for 12 min more, until ")
    document = json.loads(call("device", "queue", "local", "--format", "json").out)
    assert document["schema"] == "edgeopt.queue/1"
    assert [entry["position"] for entry in document["queue"]] == [0, 1]
    bench.agent.state = agent_pb2.GetStatusResponse()
    assert call("device", "queue", "local").out == "local is idle\nnobody has reserved local\n"
    bench.busy = True
    assert call("device", "queue", "local").code == 4


def test_results_that_nobody_fetches_are_named_and_can_be_discarded(
    call: CommandLine, bench: _Bench
) -> None:
    state = benchmark_pb2.Benchmark.State
    bench.agent.state = _status()
    for number, (ended, holder) in enumerate(
        [
            ("SUCCEEDED", "alice@gone"),
            ("QUEUED", "alice@gone"),
            ("FAILED", "alice@gone"),
            ("SUCCEEDED", "bob"),
        ]
    ):
        benchmark = benchmark_pb2.Benchmark(
            name=f"benchmarks/{number}", state=state.Value(f"STATE_{ended}"), holder=holder
        )
        if ended != "QUEUED":
            benchmark.end_time.FromSeconds(bench.agent.state.time.seconds - 600)
        bench.agent.known.append(benchmark)
    *_, alice, bob = call("device", "queue", "local").out.splitlines()
    assert alice == "2 results wait to be fetched by alice@gone, the oldest for 10 min"
    assert bob.startswith("1 result waits to be fetched by bob")
    document = json.loads(call("device", "queue", "local", "--format", "json").out)
    assert [entry["benchmark"] for entry in document["unfetched"]] == [
        "benchmarks/0", "benchmarks/2", "benchmarks/3",
    ]  # fmt: skip
    assert document["unfetched"][1]["state"] == "failed"
    discard = ("device", "queue", "local", "--discard")
    refused = call(*discard, "carol")
    assert (refused.code, "those there are of alice@gone, bob" in refused.err) == (2, True)
    asked = call(*discard, "alice@gone")
    assert (asked.code, "--yes is needed" in asked.err, len(bench.agent.known)) == (2, True, 4)
    done = call(*discard, "alice@gone", "--yes")
    assert done.err == "local has forgotten 2 results of alice@gone\n"
    assert [b.name for b in bench.agent.known] == ["benchmarks/1", "benchmarks/3"]
    assert call(*discard, "all", "--yes").code == 0
    # What waits to be run is nobody's result.
    assert [b.name for b in bench.agent.known] == ["benchmarks/1"]
    assert "no results wait on local" in call(*discard, "all", "--yes").err


@pytest.mark.parametrize("term", ["30", "30 m", "-1m", "0s", "25h", "1.5h", "m", "9999999999s"])
def test_a_duration_that_is_none(call: CommandLine, term: str) -> None:
    done = call("device", "reserve", "pi5", "--for", term)
    assert (done.code, done.out) == (2, "")
    assert "no duration" in done.err


def test_this_machine_cannot_be_reserved(call: CommandLine) -> None:
    done = call("device", "reserve", "local", "--for", "1m")
    assert done.code == 2
    assert "commands take turns" in done.err


def test_info_as_a_table(call: CommandLine) -> None:
    done = call("device", "info", "local")
    assert (done.code, done.err) == (0, "")
    for fact in (
        "Raspberry Pi 5 Model B (says device-tree)",
        "yes by qemu-user: its latencies say nothing about a real board",
        "Cortex-A76, aarch64",
        "6 logical, 6 physical, 4 usable, 2 of the fastest kind",
        "cores 0-3, Cortex-A55, 600 to 1800 MHz, governor ondemand",
        "cores 4, 6, governor unknown",
        "8.00 GB, limited to 1.00 GB, 512 MB available",
        "3.00 GB free",
        "landlock, rlimits (bubblewrap is not installed)",
        "allowed: delegates",
        "Debian 12, 6.6.31",
        "0.1.0, Python 3.11.2",
        "onnxruntime 1.23.2",
        "CPUExecutionProvider",
        "unusable: torch is not installed",
        "100 ms  temperature of cpu; power of VDD_IN; something this host does not know of new",
        "unavailable: no RAPL domain",
    ):
        assert fact in done.out, fact


def test_info_as_json(call: CommandLine, bench: _Bench) -> None:
    done = call("device", "info", "local", "--refresh", "--format", "json")
    assert bench.agent.refreshed
    document = json.loads(done.out)
    assert document["schema"] == "edgeopt.device/1"
    facts = document["facts"]
    assert facts["cpu"]["clusters"][0] == {
        "cores": [0, 1, 2, 3],
        "min_hz": 600_000_000,
        "max_hz": 1_800_000_000,
        "governor": "ondemand",
        "model": "Cortex-A55",
    }
    assert facts["cpu"]["clusters"][1]["max_hz"] is None
    assert facts["runtimes"][1] == {
        "name": "ptl",
        "implementation": None,
        "version": None,
        "providers": [],
        "unavailable_reason": "torch is not installed",
    }
    plain = {"scope": None, "gain_error": None, "averaged": False, "wraps_at": None}
    assert facts["sensors"][0] == {
        "name": "thermal",
        "channels": [
            {**plain, "name": "cpu", "quantity": "temperature_celsius"},
            {
                **plain,
                "name": "VDD_IN",
                "quantity": "power_mw",
                "scope": "input",
                "gain_error": 0.015,
            },
            {**plain, "name": "new", "quantity": "unknown", "scope": "unknown"},
        ],
        "min_interval_ns": 100_000_000,
        "unavailable_reason": None,
        "slow": False,
    }


def test_every_fact_of_the_protocol_is_in_the_document(call: CommandLine) -> None:
    """A field that is added to the protocol is added to the document."""
    facts = json.loads(call("device", "info", "local", "--format", "json").out)["facts"]
    assert set(facts) == set(device_pb2.Device.DESCRIPTOR.fields_by_name)
    for name, kind in (
        ("board", device_pb2.Board),
        ("cpu", device_pb2.Cpu),
        ("memory", device_pb2.Memory),
        ("os", device_pb2.OperatingSystem),
        ("confinement", device_pb2.Confinement),
    ):
        assert set(facts[name]) == set(kind.DESCRIPTOR.fields_by_name)
    for name, kinds in (("runtimes", device_pb2.RuntimeFacts), ("sensors", device_pb2.SensorFacts)):
        assert set(facts[name][0]) == set(kinds.DESCRIPTOR.fields_by_name)
    channel = facts["sensors"][0]["channels"][0]
    assert set(channel) == set(device_pb2.SensorChannel.DESCRIPTOR.fields_by_name)


def test_info_of_one_that_is_silent_or_unknown(call: CommandLine) -> None:
    call("device", "add", "pi5", "localhost:7", "--no-check")
    done = call("device", "info", "pi5")
    assert (done.code, done.out) == (4, "")
    done = call("device", "info", "pi")
    assert (done.code, done.out) == (2, "")
    assert "did you mean pi5?" in done.err


def test_tags(call: CommandLine) -> None:
    call("device", "add", "pi5", "localhost:7", "--tag", "pi", "--no-check")
    assert call("device", "tag", "pi5", "--add", "lab", "--remove", "pi") == (0, "", "pi5: lab\n")
    assert call("device", "tag", "pi5", "--remove", "lab") == (0, "", "pi5: no tags\n")
    assert call("device", "tag", "pi5").code == 2
    assert call("device", "tag", "local", "--add", "x").code == 2


def test_remove(call: CommandLine) -> None:
    call("device", "add", "pi5", "localhost:7", "--no-check")
    assert call("device", "remove", "pi5") == (0, "", "removed pi5\n")
    assert call("device", "remove", "pi5").code == 2
    assert call("device", "remove", "local").code == 2


def test_a_broken_inventory(call: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "devices.toml").write_text("[devices.pi4\n")
    done = call("device", "list")
    assert (done.code, done.out) == (2, "")
    assert "line 1" in done.err
