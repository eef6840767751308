"""From events to a run: figures, state and warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, blob_pb2, device_pb2
from edgeopt_host import collect, fill, findings, validity
from edgeopt_host.looks import Answer, Looks
from edgeopt_host.run import Device, Memory, Model, Run, RuntimeUsed

Event = benchmark_pb2.BenchmarkEvent
Quantity = device_pb2.SensorChannel.Quantity
START, END = benchmark_pb2.StateReading.MOMENT_START, benchmark_pb2.StateReading.MOMENT_END


def facts(**channels: Quantity) -> device_pb2.Device:
    sensor = device_pb2.SensorFacts(name="s")
    for name, quantity in channels.items():
        sensor.channels.add(name=name.replace("_", "-"), quantity=quantity)
    return device_pb2.Device(sensors=[sensor])


def reading(moment: int, time_ns: int = 0, wait_ns: int = 0, **values: float) -> Event:
    made = benchmark_pb2.StateReading(moment=moment, cpu_wait_ns=wait_ns)
    made.sensors.time_ns = time_ns
    for name, value in values.items():
        made.sensors.values.add(channel=name.replace("_", "-"), value=value)
    return Event(state=benchmark_pb2.StateReadings(readings=[made]))


def samples(*latencies_ns: int) -> Event:
    block = benchmark_pb2.Samples.Block(latency_ns=latencies_ns)
    return Event(samples=benchmark_pb2.Samples(blocks=[block]))


def result(**figures: int) -> Event:
    return Event(result=benchmark_pb2.LaunchResult(**{"timed_ns": 10**9, **figures}))


def run_of(events: list[Event], device: device_pb2.Device | None = None) -> Run:
    run = Run("id", "t", "c", Model("m", "0", 1, "onnx"), Device("d"), RuntimeUsed("onnx"))
    fill.describe(run, device or facts())
    fill.fill([run], collect.collect(events))
    return run


def codes(run: Run) -> set[str]:
    return {warning.code for warning in run.warnings}


STEADY = samples(*[1_000_000] * 200)


def test_figures_come_from_all_launches() -> None:
    first = [STEADY, result(load_ns=4_000_000, first_inference_ns=2_000_000)]
    second = [samples(*[3_000_000] * 200), result(load_ns=6_000_000, first_inference_ns=4_000_000)]
    for event in second:
        event.launch = 1
    run = run_of([*first, *second])
    assert run.latency_ms.count == 400
    assert (run.load_ms, run.first_inference_ms) == (5.0, 3.0)
    assert run.throughput_per_s == 200
    assert len(run.launches) == 2


def test_memory_is_the_highest_of_the_launches_and_null_where_the_kernel_does_not_tell() -> None:
    memory = benchmark_pb2.MemoryReading(peak_rss_bytes=50, runtime_rss_bytes=30, anonymous_bytes=0)
    first, second = result(), result()
    first.result.memory.CopyFrom(memory)
    second.result.memory.peak_rss_bytes = 7
    second.result.memory.runtime_rss_bytes = 9
    run = run_of([STEADY, first, second])
    assert run.memory == Memory(50, 30, 20)
    assert [launch.model_rss_bytes for launch in run.launches] == [20, 0]
    assert [launch.anonymous_bytes for launch in run.launches] == [0, None]
    assert run_of([STEADY, result()]).memory == Memory()


def test_a_launch_without_a_result_does_not_count() -> None:
    run = run_of([STEADY])
    assert run.launches == []
    assert run.latency_ms.p50 is None


@pytest.mark.parametrize("events", [[], [STEADY], [result()]])
def test_a_benchmark_without_figures_is_an_error(events: list[Event]) -> None:
    ended = Event(benchmark=benchmark_pb2.Benchmark(state="STATE_SUCCEEDED"))
    run = run_of([*events, ended])
    assert run.error is not None
    assert run.error.reason == "NO_RESULT"


def test_a_benchmark_that_fails_without_a_reason_has_failed() -> None:
    ended = Event(benchmark=benchmark_pb2.Benchmark(state="STATE_FAILED"))
    run = run_of([STEADY, result(), ended])
    assert run.error is not None
    assert run.error.reason == "DEVICE"


def test_what_a_newer_agent_says_is_unknown_or_left_out() -> None:
    device = facts(new=99)  # type: ignore[arg-type]
    run = run_of([Event(sequence=7), reading(99, new=1), STEADY, result()], device)
    assert run.channels == {"new": "unknown"}
    assert run.launches[0].readings[0].moment == "unknown"
    assert run.error is None


def test_temperature_is_the_hottest_channels_and_clocks_are_means() -> None:
    device = facts(
        cpu=Quantity.QUANTITY_TEMPERATURE_CELSIUS,
        gpu=Quantity.QUANTITY_TEMPERATURE_CELSIUS,
        cpu0=Quantity.QUANTITY_CLOCK_HZ,
    )
    run = run_of(
        [
            reading(START, cpu=40, gpu=45, cpu0=1e9),
            reading(END, cpu=60, gpu=50, cpu0=2e9),
            STEADY,
            result(),
        ],
        device,
    )
    heat = run.state.temperature_c
    assert (heat.start, heat.max, heat.end) == (45, 60, 60)
    assert run.state.clock_mhz == {"cpu0": 1500}


@pytest.mark.parametrize(
    ("channel", "quantity", "before", "after", "throttled"),
    [
        ("throttled", Quantity.QUANTITY_THROTTLE_FLAGS, 0, 0, False),
        ("throttled", Quantity.QUANTITY_THROTTLE_FLAGS, 0, 4, True),
        ("throttled_sticky", Quantity.QUANTITY_THROTTLE_FLAGS, 5, 5, False),
        ("throttled_sticky", Quantity.QUANTITY_THROTTLE_FLAGS, 1, 5, True),
        ("core", Quantity.QUANTITY_THROTTLE_COUNT, 7, 7, False),
        ("core", Quantity.QUANTITY_THROTTLE_COUNT, 7, 8, True),
    ],
)
def test_throttling_is_what_happened_during_the_run(
    channel: str, quantity: Quantity, before: float, after: float, throttled: bool
) -> None:
    events = [
        reading(START, **{channel: before}),
        reading(END, **{channel: after}),
        STEADY,
        result(),
    ]
    run = run_of(events, facts(**{channel: quantity}))
    assert run.state.throttled is throttled
    assert ("THROTTLED" in codes(run)) is throttled


@pytest.mark.parametrize(
    ("quantity", "launches", "throttled"),
    [
        # The kernel has cleared the bit when the launch ends.
        ("FLAGS", [[{"a-sticky": 0}, {"a-sticky": 4}, {"a-sticky": 0}]], True),
        ("FLAGS", [[{"a-sticky": 4}, {"a-sticky": 0}, {"a-sticky": 0}]], False),
        ("FLAGS", [[{"a-sticky": 4}, {"a-sticky": 0}, {"a-sticky": 4}]], True),
        # Bits of one channel are no news to another, nor those of one launch to the next.
        ("FLAGS", [[{"a-sticky": 0, "b-sticky": 4}, {"a-sticky": 0, "b-sticky": 4}]], False),
        ("FLAGS", [[{"a-sticky": 0}], [{"a-sticky": 4}]], False),
        # A channel without news is left out of a reading; counters count since boot.
        ("COUNT", [[{}, {"a": 7}, {}]], False),
        ("COUNT", [[{"b": 1}, {"a": 7, "b": 1}, {"a": 8}]], True),
        ("COUNT", [[{"a": 7}, {"b": 9}]], False),
        ("COUNT", [[{"a": 7}], [{"a": 9}]], False),
        ("COUNT", [[{"a": 7}, {"a": 8}], [{"a": 8}]], True),
    ],
)
def test_throttling_is_told_per_channel_and_launch(
    quantity: str, launches: list[list[dict[str, float]]], throttled: bool
) -> None:
    names = {name for launch in launches for values in launch for name in values}
    kind = Quantity.Value(f"QUANTITY_THROTTLE_{quantity}")
    events = []
    for number, launch in enumerate(launches):
        made = [reading(START, **values) for values in launch] + [samples(*[10**6] * 99), result()]
        for event in made:
            event.launch = number
        events += made
    assert run_of(events, facts(**dict.fromkeys(names, kind))).state.throttled is throttled


def test_a_device_that_cannot_tell_throttling_says_null() -> None:
    assert run_of([STEADY, result()]).state.throttled is None


def test_few_samples_are_warned_of() -> None:
    assert codes(run_of([samples(*[10**6] * 50), result()])) == {"TOO_FEW_SAMPLES"}
    assert codes(run_of([STEADY, result()])) == set()


def test_noise_between_blocks_is_warned_of() -> None:
    noisy = [samples(*[round(10**6 * factor)] * 50) for factor in np.linspace(1, 2, 10)]
    (warning,) = run_of([*noisy, result()]).warnings
    assert warning.code == "NOISY"
    assert "from block to block" in warning.message
    assert "waited" not in warning.message


def test_waiting_for_a_cpu_is_warned_of() -> None:
    end = reading(END, wait_ns=2 * 10**8)
    end.state.readings[0].thread_cpu_ns = 8 * 10**8
    events = [reading(START, wait_ns=0), STEADY, end, result()]
    (warning,) = run_of(events).warnings
    assert "waited 20 % of the time that it wanted a CPU" in warning.message


def test_a_harness_that_weighs_is_warned_of() -> None:
    tiny_model = samples(*[1000] * 200)
    assert codes(run_of([tiny_model, result(harness_overhead_ns=100)])) == {"HARNESS_OVERHEAD"}


def test_more_threads_than_cores_are_warned_of() -> None:
    run = Run("id", "t", "c", Model("m", "0", 1, "onnx"), Device("d", cores=2), RuntimeUsed("onnx"))
    execution = Event(execution=benchmark_pb2.Execution(threads=3))
    fill.fill([run], collect.collect([execution, STEADY, result()]))
    assert codes(run) == {"OVERSUBSCRIBED"}
    run.device.cores = 8
    assert "OVERSUBSCRIBED" not in {w.code for w in findings.warnings(run)}
    # A container's share of them.
    run.device.usable_cores = 2
    assert "use --threads 2" in findings.warnings(run)[0].message


def test_an_emulated_device_is_warned_of() -> None:
    run = Run("id", "t", "c", Model("m", "0", 1, "onnx"), Device("d"), RuntimeUsed("onnx"))
    run.device.emulated = True
    fill.fill([run], collect.collect([STEADY, result()]))
    assert codes(run) == {"EMULATED"}


def test_what_the_agent_warns_of_is_said_once() -> None:
    fallback = Event(warning=benchmark_pb2.BenchmarkWarning(code="FALLBACK", message="on the CPU"))
    run = run_of([fallback, fallback, STEADY, result()])
    assert [w.message for w in run.warnings] == ["on the CPU"]


def launched(number: int, *warnings: str) -> list[Event]:
    """A launch of both subjects, after warnings, of which events tell no subject."""
    events = [
        Event(launch=number, warning=benchmark_pb2.BenchmarkWarning(code=code, message="m"))
        for code in warnings
    ]
    for subject in (0, 1):
        for event in (samples(*[1_000_000] * 200), result()):
            event.launch, event.subject = number, subject
            events.append(event)
    return events


def two_runs() -> list[Run]:
    def run() -> Run:
        return Run("id", "t", "c", Model("m", "0", 1, "onnx"), Device("d"), RuntimeUsed("onnx"))

    return [run(), run()]


@pytest.mark.parametrize("code", ["NOT_COOL", "THROTTLED_AT_START", "CLOCK_UNSTEADY"])
def test_a_launch_that_began_too_early_does_not_count_for_any_subject(code: str) -> None:
    events = [*launched(0), *launched(1, code), *launched(2, "START_UNKNOWN", "FALLBACK")]
    runs = two_runs()
    fill.fill(runs, collect.collect(events, 2))
    for run in runs:
        tainted = [launch.tainted for launch in run.launches]
        assert tainted == [None, validity.NOT_READY[code], None]
        assert run.latency_ms.count == 400


def test_a_start_of_an_interrupted_benchmark_says_nothing_of_the_next() -> None:
    events = [
        became("STATE_RUNNING", 1),
        *launched(0, "NOT_COOL"),
        became("STATE_QUEUED", 2),
        *launched(0),
    ]
    for found in collect.collect(events, 2):
        assert [launch.start_warning for launch in found.launches] == [None]


def test_what_is_marked_for_a_judge_has_no_figures_yet() -> None:
    execution = Event(execution=benchmark_pb2.Execution(version="1.2"))
    runs = two_runs()
    fill.mark(runs, collect.collect([execution, *launched(0), *launched(1, "NOT_COOL")], 2))
    assert [[one.tainted is None for one in run.launches] for run in runs] == [[True, False]] * 2
    assert runs[0].runtime.version == "1.2"
    assert codes(runs[0]) == {"NOT_COOL"}
    assert (runs[0].latency_ms.p50, runs[0].load_ms) == (None, None)


def test_a_start_condition_that_never_holds_is_given_up() -> None:
    """Each of these launches has waited for minutes."""
    collector, asked = collect.Collector(2), []

    def judge(runs: Sequence[Run]) -> Answer:
        asked.append(len(runs))
        # A device waits: figures take seconds.
        assert runs[0].launches
        assert runs[0].latency_ms.p50 is None
        return Answer.CONTINUE

    looks = Looks(judge, two_runs())
    answers = []
    for number in range(6):
        for event in launched(number, *(["NOT_COOL"] if number else [])):
            collector.add(event)
        answers.append(looks.answer(number, collector.collected()))
    go_on, stop, repeat = (
        getattr(agent_pb2.AnswerLookRequest, f"ANSWER_{name}")
        for name in ("CONTINUE", "STOP", "REPEAT")
    )
    assert answers == [go_on, *[repeat] * validity.RETRIES, stop, stop]
    assert asked == [2]
    runs = two_runs()
    fill.fill(runs, collector.collected())
    assert "INVALID" in codes(runs[0])
    assert "the device was too warm (5 times)" in str(validity.is_invalid(runs[0]))


def test_a_sustained_run_that_began_too_early_is_not_repeated_but_invalid() -> None:
    events = launched(0, "NOT_COOL")
    for event in events:
        if event.HasField("samples"):
            ten_minutes = [
                benchmark_pb2.Samples.Block(
                    start_time_ns=second * 10**9, latency_ns=[10**6] * 20, duration_ns=2 * 10**7
                )
                for second in range(600)
            ]
            event.samples.CopyFrom(benchmark_pb2.Samples(blocks=ten_minutes))
    runs = two_runs()
    for run in runs:
        run.request = {"plan": {"filler_s": 0.95}}
    fill.fill(runs, collect.collect(events, 2))
    assert runs[0].launches[0].tainted is None
    assert "INVALID" in codes(runs[0])


def became(state: str, attempt: int) -> Event:
    return Event(benchmark=benchmark_pb2.Benchmark(state=state, attempt=attempt))  # type: ignore[arg-type]


@pytest.mark.parametrize("again", [became("STATE_QUEUED", 2), became("STATE_QUEUED", 1)])
def test_of_an_interrupted_benchmark_the_second_attempt_counts(again: Event) -> None:
    first = [became("STATE_QUEUED", 1), became("STATE_RUNNING", 1)]
    slow = [samples(*[9_000_000] * 50), reading(START, cpu=90)]
    warned = Event(warning=benchmark_pb2.BenchmarkWarning(code="FALLBACK", message="on the CPU"))
    second = [became("STATE_RUNNING", again.benchmark.attempt), STEADY, result()]
    whole = [*first, *slow, result(), warned, *slow, again, *second]
    run = run_of([*whole, became("STATE_SUCCEEDED", again.benchmark.attempt)])
    assert (run.latency_ms.count, run.latency_ms.max, run.latency_ms.launches) == (200, 1, 1)
    assert codes(run) == {"INTERRUPTED"}
    assert run.launches[0].readings == []
    assert run.error is None


def test_a_benchmark_that_waits_for_a_first_time_was_not_interrupted() -> None:
    run = run_of([became("STATE_QUEUED", 0), became("STATE_RUNNING", 0), STEADY, result()])
    assert codes(run) == set()


def test_a_profile_that_cannot_be_had_is_said_so() -> None:
    profile = Event(profile=benchmark_pb2.Profile(unavailable_reason="no profiler here"))
    run = run_of([STEADY, result(), profile])
    assert run.profile is None
    assert codes(run) == {"NO_PROFILE"}


def test_outputs_left_out_are_named_and_the_file_is_found() -> None:
    named = Event(outputs=benchmark_pb2.Outputs(left_out=["seq"]))
    filed = Event(outputs=benchmark_pb2.Outputs(file=blob_pb2.Digest(sha256="a"), left_out=["seq"]))
    (collected,) = collect.collect([named, filed])
    assert collected.outputs is not None
    assert [w.code for w in collected.warnings] == ["OUTPUT_LEFT_OUT"]


def test_a_document_survives_a_round_trip() -> None:
    run = run_of([STEADY, result()])
    again = Run.from_document(run.document())
    assert again.document() == run.document()
    assert all(math.isfinite(v) for v in (run.latency_ms.p50 or math.nan, run.load_ms or 0.0))
