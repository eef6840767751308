"""`edgeopt-host gate` up to where it measures: tests/system/test_gate.py has the rest."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from command_line import CommandLine, command_line
from edgeopt_host.cli import _output
from edgeopt_host.gate import schema, table
from edgeopt_host.gate.result import EXIT_CODES, GateResult, RuleResult, RunWarning
from edgeopt_host.stats.verdict import Verdict
from edgeopt_host.store import RunStore
from sample_reports import paired_runs

RULE = '[[rule]]\nmetric = "p50_latency_ms"\nmax_regression = "3%"\n'
HEAD = 'schema = "edgeopt.policy/1"\n'


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return command_line(tmp_path / "home", monkeypatch, capsys)


def test_what_init_writes_passes_check(host: CommandLine, tmp_path: Path) -> None:
    made = host("gate", "init")
    assert (made.code, made.out) == (0, "")
    checked = host("gate", "check", "policy.toml")
    assert checked == (0, "", "policy.toml: 4 rules, nothing wrong\n")
    (tmp_path / "policy.toml").write_text("mine")
    again = host("gate", "init", "policy.toml")
    assert again.code == 2
    assert "policy.toml is there already" in again.err
    assert (tmp_path / "policy.toml").read_text() == "mine"
    assert host("gate", "init", "policy.toml", "--force").code == 0


def test_check_tells_all_that_is_wrong(host: CommandLine) -> None:
    Path("p.toml").write_text(f"{HEAD}[[rule]]\nmetrik = 1\nmax = 0\n")
    checked = host("gate", "check", "p.toml")
    assert (checked.code, checked.out) == (2, "")
    first, second, third = checked.err.splitlines()
    assert first.startswith("p.toml:2: rule[1]: a rule needs a metric: one of p50_latency_ms")
    assert second == "p.toml:3: rule[1].metrik: there is no such key; did you mean metric?"
    assert third == "p.toml:4: rule[1].max: 0 is not above 0"
    as_json = host("gate", "check", "p.toml", "--format", "json")
    document = json.loads(as_json.out)
    assert (as_json.code, document["schema"], document["valid"]) == (
        2, "edgeopt.policy-check/1", False,
    )  # fmt: skip
    assert document["problems"][2] == {
        "line": 4,
        "key": "rule[1].max",
        "message": "0 is not above 0",
    }


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_check_of_what_cannot_be_read_is_a_document_too(
    host: CommandLine, content: bytes | None
) -> None:
    if content is not None:
        Path("p.toml").write_bytes(content)
    checked = host("gate", "check", "p.toml", "--format", "json")
    document = json.loads(checked.out)
    (problem,) = document["problems"]
    assert (checked.code, document["valid"], problem["line"]) == (2, False, None)
    assert problem["message"].startswith("cannot read the policy p.toml")
    assert host("gate", "check", "p.toml").out == ""


def test_how_to_measure_is_refused_where_nothing_is_measured(
    host: CommandLine,
) -> None:
    Path("p.toml").write_text(HEAD + RULE)
    (run,) = paired_runs(1.0, names=("m.onnx",), launches=3, seed=1)
    run.paired = None
    with RunStore.open() as store:
        store.add(run)
    host("device", "add", run.device.name, "unix:/nowhere/agent.sock", "--no-check")
    gate = ("gate", "run", "p.toml", "--candidate", str(run.id), "--baseline", str(run.id))
    ended = host(*gate, "--batch", "2", "--threads", "1", "--wait")
    assert (ended.code, ended.out) == (2, "")
    assert "nothing is measured: leave --threads, --wait, --batch out" in ended.err
    assert host(*gate, "--device", run.device.name).code != 2


def test_schema_prints_what_is_shipped(host: CommandLine) -> None:
    assert host("gate", "schema").out == schema.text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--candidate", "m.onnx"), "give --device NAME"),
        (("--candidate", "m.onnx", "--device", "local"), "add --baseline MODEL, RUN or NAME"),
        (("--candidate", "m.onnx", "--device", "pi"), "no device is called 'pi'"),
        (("--candidate", "n.onnx", "--device", "local"), "'n.onnx' is no file"),
        (("--candidate", "m.onnx", "--device", "local", "--batch", "2"), "--batch 2 contradicts"),
        (("--candidate", "m.onnx", "--device", "local", "--html", "no/h"), "its folder does not"),
        (("--candidate", "m.onnx", "--device", "local", "--junit", "."), "it is a folder"),
        (
            ("--candidate", "m.onnx", "--device", "local", "--junit", "x", "--html", "./x"),
            "--html x is the file of --junit: give each its own",
        ),
        (
            ("--candidate", "m.onnx", "--device", "local", "--markdown", "p.toml"),
            "--markdown p.toml is the file of the policy",
        ),
        (
            ("--candidate", "m.onnx", "--device", "local", "--data", "d"),
            "cannot read the data file",
        ),
        (("--candidate", "m.onnx", "--device", "local", "--launches", "3"), "No such option"),
        ((), "Missing option '--candidate'"),
    ],
)
def test_used_wrongly_is_2(host: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    Path("p.toml").write_text(f"{HEAD}[gate]\nbatch = 4\n{RULE}")
    Path("m.onnx").touch()
    ended = host("gate", "run", "p.toml", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_run_tells_all_that_is_wrong_with_the_policy(host: CommandLine) -> None:
    Path("p.toml").write_text("")
    ended = host("gate", "run", "p.toml", "--candidate", "m.onnx", "--device", "local")
    assert (ended.code, len(ended.err.splitlines())) == (2, 2)


def test_a_crash_is_4(host: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("p.toml").write_text(HEAD + RULE)
    Path("m.onnx").touch()

    def boom(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("edgeopt_host.gate.run.Gate.decide", boom)
    model = ("--candidate", "m.onnx", "--baseline", "m.onnx", "--device", "local")
    ended = host("gate", "run", "p.toml", *model)
    assert (ended.code, ended.out) == (4, "")
    assert "internal error, a bug in edgeopt: RuntimeError: boom" in ended.err


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_verdict_is_the_exit_code_whatever_happens_to_the_files(
    host: CommandLine, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    Path("p.toml").write_text(HEAD + RULE)
    Path("m.onnx").touch()
    found = GateResult(verdict, [dataclasses.replace(sample(), verdict=verdict)])
    monkeypatch.setattr("edgeopt_host.gate.run.Gate.decide", lambda *_: found)
    model = ("--candidate", "m.onnx", "--baseline", "m.onnx", "--device", "local")
    ended = host("gate", "run", "p.toml", *model, "--junit", "j.xml", "--format", "json")
    assert ended.code == {"pass": 0, "fail": 1, "inconclusive": 3, "not_measurable": 4}[verdict]
    assert json.loads(ended.out)["verdict"] == verdict.value
    assert Path("j.xml").read_text().startswith("<?xml")

    def full(*_: object) -> None:
        raise _output.UsageError("cannot write j.xml: No space left on device")

    monkeypatch.setattr(_output, "write", full)
    ended = host("gate", "run", "p.toml", *model, "--junit", "j.xml", "--format", "json")
    assert ended.code == 4
    assert json.loads(ended.out)["verdict"] == verdict.value
    assert "No space left" in ended.err


def test_a_rule_that_is_for_no_device_is_told_or_refused(
    host: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("m.onnx").touch()
    host("device", "add", "pi4", "unix:/nowhere/agent.sock", "--tag=pi", "--no-check")
    found = GateResult(Verdict.PASS, [sample()])
    monkeypatch.setattr("edgeopt_host.gate.run.Gate.decide", lambda *_: found)
    tagged = '[[rule]]\nmetric = "size_mb"\nmax = 9\ntags = ["pi"]\n'
    model = ("--candidate", "m.onnx", "--baseline", "m.onnx", "--device", "local")
    Path("p.toml").write_text(f"{HEAD}{RULE}{tagged}")
    refused = host("gate", "run", "p.toml", *model)
    assert (refused.code, refused.out) == (2, "")
    assert "p.toml, line 5: size_mb is required on devices that are tagged pi" in refused.err
    Path("p.toml").write_text(f"{HEAD}{RULE}{tagged}required = false\n")
    told = host("gate", "run", "p.toml", *model)
    assert told.code == 0
    assert told.err == "p.toml, line 5: size_mb is for none of these devices\n"


def test_every_verdict_has_a_code() -> None:
    assert set(EXIT_CODES) == set(Verdict)


def sample(**changes: object) -> RuleResult:
    made = RuleResult(
        "p50_latency_ms", "pi4", True, Verdict.PASS, 1.012, (1.008, 1.016), 1.03, 1, 12.4, "",
        "relative", "ratio", 12.3, 12.448, "max_regression 3%",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_the_table_has_a_line_per_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    warnings = [RunWarning("local", "candidate", "NOISY", "others work")]
    shown = table.render(GateResult(Verdict.PASS, [sample()], warnings=warnings))
    assert "\n\nWarning  NOISY (candidate on local): others work\n\n" in shown
    assert "Timed" in shown.splitlines()[0]


def test_the_table_has_a_line_per_rule_then_why_then_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    rules = [
        sample(),
        sample(
            metric="peak_memory_mb", estimate=38.0, ci=(38.0, 38.0), limit=36.0, unit="MB",
            kind="absolute", baseline=None, condition="max 36 MB", verdict=Verdict.FAIL,
        ),
        sample(
            metric="accuracy", verdict=Verdict.INCONCLUSIVE, required=False, unit="pt", estimate=-0.4,
            ci=(-0.9, 0.1), baseline=0.91, candidate=0.906, condition="max_regression 0.5pt",
            reason="the interval holds the limit", advice="give more labelled examples",
        ),
        sample(
            device="na\x1bno", verdict=Verdict.NOT_MEASURABLE, estimate=None, ci=None, baseline=None,
            candidate=None, device_seconds=0.0, reason="no agent answers",
        ),
    ]  # fmt: skip
    lines = table.render(GateResult(Verdict.FAIL, rules)).splitlines()
    assert len(lines) == 10
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in lines]
    assert cells[1] == [
        "✓ pass", "pi4", "p50_latency_ms max_regression 3%", "+1.2 % [+0.8 % to +1.6 %]",
        "12.3 ms → 12.4 ms", "12 s",
    ]  # fmt: skip
    assert cells[2][:4] == ["✗ fail", "pi4", "peak_memory_mb max 36 MB", "38.0 MB"]
    assert cells[3][2:4] == [
        "accuracy max_regression 0.5pt (advisory)", "-0.40 points [-0.90 points to +0.10 points]",
    ]  # fmt: skip
    assert cells[4][:2] == ["! not measurable", r"na\x1bno"]
    assert lines[6:] == [
        "pi4: accuracy: the interval holds the limit; give more labelled examples",
        r"na\x1bno: p50_latency_ms: no agent answers",
        "",
        "✗ fail: 1 of 3 required rules failed",
    ]
    assert "\x1b" not in "".join(lines)
