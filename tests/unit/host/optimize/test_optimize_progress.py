"""What a terminal and a log show while a recipe goes on."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.progress import Progress

from edgeopt_host.cli import _optimize_progress
from edgeopt_host.observer import Observer
from edgeopt_host.optimize.watcher import Watcher


def test_a_terminal_shows_steps_and_devices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with _optimize_progress.watcher() as watching:
        watching.progress("quantize-int8", 0.5, "calibrating")
        watching.devices.connecting("pi4")
        watching.devices.measuring("pi4", "a.onnx, b.onnx", "measuring", 1, 4, 0.5)
        watching.done("quantize-int8", "done in 3 s")
    shown = capsys.readouterr().err
    for text in ("quantize-int8", "pi4", "a.onnx, b.onnx", "launch 2 of 4, measuring"):
        assert text in shown
    assert "quantize-int8: done in 3 s" in shown


def test_a_device_that_is_measured_again_has_one_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(console=Console(stderr=True), disable=True) as progress:
        bars = _optimize_progress._Bars(progress)
        for _ in range(2):
            bars.devices.connecting("pi4")
            bars.devices.measuring("pi4", "a.onnx", "measuring", 0, 1, 1.0)
            assert [task.fields["device"] for task in progress.tasks] == ["pi4"]
            assert progress.tasks[0].completed == 1.0
    assert not capsys.readouterr().out


def test_a_log_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    with _optimize_progress.watcher() as watching:
        watching.progress("original", 0.1, "predicting")
        watching.devices.connecting("pi4")
    assert capsys.readouterr().err == "original: predicting\npi4: connecting\n"


def test_watchers_share_no_devices() -> None:
    one, other = Watcher(), Watcher()
    one.devices = Observer()
    assert one.devices is not other.devices
