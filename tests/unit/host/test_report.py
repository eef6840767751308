from __future__ import annotations

import csv
import io
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_host.report import FORMATS, _units, render
from edgeopt_host.report.table import render_list, render_stored
from edgeopt_host.run import Failure, Latency, Run, State, Temperature
from sample_runs import failed_run, measured_run, whole_run


@pytest.fixture(autouse=True)
def _pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


class TestUnits:
    @pytest.mark.parametrize(
        ("milliseconds", "text"),
        [
            (0, "0 ns"),
            (0.0000004, "0.400 ns"),
            (0.000412, "412 ns"),
            (0.0123, "12.3 µs"),
            (0.42, "420 µs"),
            (0.9994, "999 µs"),
            (0.9996, "1.00 ms"),
            (1.234, "1.23 ms"),
            (999.4, "999 ms"),
            (999.6, "1.00 s"),
            (123_456, "123 s"),
            (1_234_567, "1235 s"),
            (math.nan, "nan ns"),
        ],
    )
    def test_durations(self, milliseconds: float, text: str) -> None:
        assert _units.duration(milliseconds) == text

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"),
            (812, "812 B"),
            (1024, "1.00 KB"),
            (1023 * 1024, "1023 KB"),
            (2**33, "8.00 GB"),
        ],
    )
    def test_sizes(self, count: float, text: str) -> None:
        assert _units.size(count) == text

    def test_an_interval_has_one_unit(self) -> None:
        assert _units.interval(1.0, 0.97, 1.031) == "1.00 ms [0.97, 1.03]"

    def test_a_narrow_interval_gets_the_digits_it_needs(self) -> None:
        assert _units.interval(123.0, 122.96, 123.04) == "123.00 ms [122.96, 123.04]"
        assert _units.interval(123.0, 123.0, 123.0) == "123 ms [123, 123]"

    def test_a_share_that_is_not_all_does_not_read_as_all(self) -> None:
        shares = (0, 0.001, 0.974, 0.998, 1)
        assert [_units.percent(s) for s in shares] == ["0 %", "0.1 %", "97 %", "99.8 %", "100 %"]

    @given(st.floats(1e-6, 1e7))
    def test_three_digits_are_true(self, value: float) -> None:
        number, unit = _units.duration(value).split()
        scale = {"ns": 1e-6, "µs": 1e-3, "ms": 1.0, "s": 1e3}[unit]
        assert float(number) * scale == pytest.approx(value, rel=0.0051)


class TestTable:
    def test_one_run_shows_every_figure(self) -> None:
        text = render([measured_run()], "table")
        for figure in (
            "face.tflite on pi4",
            "420 µs [412, 433] (95 % interval)",
            "min 400 µs  p90 460 µs  p95 500 µs  p99 590 µs  max 1.26 ms",
            "4812 inferences in 3 launches",
            "2382 samples/s",
            "load 12.3 ms, first inference 630 µs",
            "peak 38.0 MB, the model's share 8.58 MB",
            "224 KB (tflite)",
            "1.23 mJ per inference [1.20, 1.26] (rapl)",
            "48.2 °C at the start, 51.0 °C at most, not throttled, clock 1800 MHz",
            "governor ondemand",
            "ai-edge-litert 2.1.0, 4 threads, XNNPACK (97 % of operators in 2 pieces)",
            "GPU was asked for",
            "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72, 4 cores, 4.00 GB",
            "image float32 1x128x128x3; batch 2; 3 streams; 30.5 Hz",
            "branch=main, commit=0123abc",
            "NOISY: block medians vary by 12 %: stop other work",
            "CONV_2D",
        ):
            assert figure in text, figure
        assert "\x1b" not in text
        assert all(line == line.rstrip() for line in text.splitlines())

    def test_energy_and_state_say_why_there_is_none(self) -> None:
        run = measured_run(state=State(Temperature()))
        run.energy.status, run.energy.reason = "unavailable", "no power sensor"
        text = render([run], "table")
        assert "not measured: no power sensor" in text
        assert "temperature unknown, throttling unknown" in text
        run.energy.status, run.energy.reason = "not_requested", None
        run.state.throttled = True
        text = render([run], "table")
        assert "not requested" in text
        assert "THROTTLED" in text

    def test_several_runs_are_compared_below(self) -> None:
        runs = [measured_run(), measured_run(device="pi5"), failed_run()]
        runs[0].warnings = []
        last = render(runs, "table").splitlines()[-4:]
        assert [re.split(r"\s{2,}", line) for line in last] == [
            ["Device", "p50", "p95", "Per s", "Peak", "Notes"],
            ["pi4", "420 µs ±3 %", "500 µs", "2382", "38.0 MB"],
            ["pi5", "420 µs ±3 %", "500 µs", "2382", "38.0 MB", "NOISY"],
            ["phone", "-", "-", "-", "-", "failed: UNREACHABLE"],
        ]

    def test_columns_that_say_the_same_are_left_out(self) -> None:
        header = render([measured_run(), measured_run("b.onnx")], "table").splitlines()[-3]
        assert header.split()[:2] == ["Model", "p50"]
        both = [measured_run(), measured_run("b.onnx", "pi5")]
        assert render(both, "table").splitlines()[-3].split()[:2] == ["Model", "Device"]

    def test_an_emulated_device_says_so_everywhere(self) -> None:
        run = measured_run()
        run.device.emulated = True
        for format_ in ("table", "markdown"):
            assert "pi4 (emulated)" in render([run, run], format_)

    def test_fits_80_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        runs = [
            measured_run("a_rather_long_name_of_a_model.tflite"),
            measured_run("b.onnx", "a-rather-long-name-of-a-device"),
            failed_run(),
        ]
        for text in (render(runs, "table"), render_list(runs), render_stored(runs[0])):
            assert max(map(len, text.splitlines())) <= 80
        assert runs[2].id in render_list(runs)
        assert "UNREACHABLE" in render_list(runs)

    def test_a_terminal_gets_colours_unless_it_does_not_want_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        assert "\x1b[31m" in render([failed_run()], "table")
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[31m" not in render([failed_run()], "table")

    def test_what_a_device_says_does_not_reach_the_terminal_raw(self) -> None:
        run = measured_run("\x1b[31m[bold]x", labels={"k": "\x1b]0;title\x07"})
        run.device.board = "a\nb"
        run.error = Failure("X", "\x9b31m")
        text = render([run, run], "table") + render_list([run]) + render_stored(run)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        assert r"\x1b[31m[bold]x on pi4" in text

    def test_a_failure_says_why(self) -> None:
        text = render([failed_run()], "table")
        assert "UNREACHABLE: no agent answers" in text
        assert "nan" not in text.lower()

    def test_a_stored_run_tells_how_it_came_about(self) -> None:
        text = render_stored(measured_run())
        assert "2026-11-02T10:00:00+00:00" in text
        assert "edgeopt-host push face.tflite --device pi4" in text

    def test_nothing_is_nothing(self) -> None:
        assert render([], "table") == ""


class TestJson:
    def test_is_the_documents(self) -> None:
        runs = [whole_run(), failed_run()]
        document = json.loads(render(runs, "json"))
        assert document == {"schema": "edgeopt.push/1", "runs": [r.document() for r in runs]}

    def test_has_no_nan(self) -> None:
        run = measured_run(latency_ms=Latency(p50=math.nan, max=math.inf))
        text = render([run], "json")
        assert "NaN" not in text
        assert "Infinity" not in text


class TestCsv:
    def test_one_line_per_run(self) -> None:
        rows = list(csv.DictReader(io.StringIO(render([whole_run(), failed_run()], "csv"))))
        assert [row["device"] for row in rows] == ["pi4", "phone"]
        assert rows[0]["p50_latency_ms"] == "0.42"
        assert (rows[0]["p50_ci95_low_ms"], rows[0]["p50_ci95_high_ms"]) == ("0.412", "0.433")
        assert rows[0]["throttled"] == "false"
        assert rows[0]["labels"] == "branch=main commit=0123abc"
        assert rows[0]["warnings"] == "NOISY"
        assert rows[1]["p50_ci95_low_ms"] == ""
        assert rows[1]["error_reason"] == "UNREACHABLE"

    def test_a_run_is_one_line(self) -> None:
        assert render([measured_run("\t=1\r\n=2")], "csv").count("\n") == 2
        assert r"\x09=1\x0d\x0a=2" in render([measured_run("\t=1\r\n=2")], "csv")

    def test_the_order_is_fixed(self) -> None:
        header = render([], "csv").split(",")
        assert header[:7] == [
            "id",
            "time",
            "model",
            "model_sha256",
            "model_size_bytes",
            "model_format",
            "device",
        ]
        assert header[-1] == "command\n"

    @pytest.mark.parametrize("start", ["=", "+", "-", "@"])
    def test_a_name_is_no_formula(self, start: str) -> None:
        run = measured_run(f"{start}cmd|' /C calc'!A0", load_ms=-1.0)
        (row,) = csv.DictReader(io.StringIO(render([run], "csv")))
        assert row["model"] == f"'{start}cmd|' /C calc'!A0"
        assert row["load_ms"] == "-1.0"


class TestMarkdown:
    def test_is_a_table(self) -> None:
        lines = render([measured_run(), failed_run()], "markdown").splitlines()
        assert len(lines) == 4
        assert {line.count("|") for line in lines} == {13}
        assert "failed: UNREACHABLE" in lines[3]

    def test_a_name_is_no_markup(self) -> None:
        run = measured_run("a|b<img>[x](y)`c`@someone*")
        line = render([run], "markdown").splitlines()[2]
        assert r"a\|b\<img\>\[x\](y)\`c\`@" in line
        assert "@someone" not in line


@given(st.sampled_from(sorted(FORMATS)), st.builds(Latency, *[st.none() | st.floats()] * 6))
def test_no_figure_breaks_a_format(format_: str, latency: Latency) -> None:
    run: Run = measured_run(latency_ms=latency)
    assert render([run, run], format_)


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_a_run_of_which_nothing_is_known(format_: str) -> None:
    assert failed_run().error is not None
    run = failed_run()
    run.error = None
    assert "phone" in render([run], format_)
