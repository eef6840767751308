"""What a person is told while a device works: words, not the protocol's."""

from __future__ import annotations

import pytest

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_host.cli import _progress
from edgeopt_host.observer import tell

Progress = benchmark_pb2.Progress


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (Progress(phase=Progress.PHASE_WAITING), "pi4: m: waiting for its turn\n"),
        (Progress(phase=Progress.PHASE_WAITING, ahead=2), "pi4: m: waiting: 2 before this one\n"),
        (
            Progress(phase=Progress.PHASE_COOLING, condition="below 55 °C"),
            "pi4: m: waits for: below 55 °C\n",
        ),
        (Progress(phase=Progress.PHASE_LOOKING), ""),
    ],
)
def test_progress_reads_as_people_say_it(
    progress: benchmark_pb2.Progress, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with _progress.observer() as watching:
        tell(watching, "pi4", "m", 3, benchmark_pb2.BenchmarkEvent(progress=progress))
    assert capsys.readouterr().err == said
