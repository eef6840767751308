"""`edgeopt-host push` for real: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import tiny
from conftest import PLUGINS, AgentProcess

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]
StartAgent = Callable[..., AgentProcess]
QUICK = ("--launches", "1", "--warmup", "0.05", "--duration", "0.2")
LOCAL = ("--device", "local", *QUICK)


def pushed(ended: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert ended.stdout, ended.stderr
    document = json.loads(ended.stdout)
    assert document["schema"] == "edgeopt.push/1"
    return document["runs"]


def add(edgeopt_host: EdgeoptHost, name: str, agent: AgentProcess, *tags: str) -> None:
    added = edgeopt_host("device", "add", name, agent.address, *[f"--tag={tag}" for tag in tags])
    assert added.returncode == 0, added.stderr


def left_behind(home: Path) -> list[Path]:
    """What a push that failed must not leave: parts of blobs, and scratch."""
    state = home / "data" / "local-agent"
    return [path for folder in ("partial", "scratch") for path in (state / folder).rglob("*")]


def test_a_push_prints_one_document_with_every_key(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    model = tiny.matmul(tmp_path / "m.onnx", 64)
    ended = edgeopt_host("push", model, *LOCAL, "--label", "branch=main", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    (run,) = pushed(ended)
    # docs/reference: the keys of edgeopt.push/1; others rely on each of them.
    assert set(run) == {
        "id", "time", "labels", "command", "model", "device", "runtime", "shape", "latency_ms",
        "throughput_per_s", "throughput_ci95", "load_ms", "first_inference_ms",
        "harness_overhead_us", "memory", "energy",
        "state", "accuracy", "sustained", "paired", "profile", "warnings", "error", "request",
    }  # fmt: skip
    assert set(run["latency_ms"]) == {
        "count", "launches", "min", "mean", "stddev", "p50", "p50_ci95", "p90", "p95", "p99", "max",
    }  # fmt: skip
    assert set(run["request"]) == {
        "plan", "execution", "inputs", "profile", "energy", "data", "outputs",
    }  # fmt: skip
    assert run["request"]["plan"]["duration_s"] == 0.2
    assert run["device"]["usable_cores"] >= 1
    assert run["model"]["size_bytes"] == model.stat().st_size
    (file,) = run["model"]["files"]
    assert file == {key: run["model"][key] for key in ("name", "sha256", "size_bytes")}
    assert run["labels"] == {"branch": "main"}
    assert run["command"].endswith("--format json")
    assert run["error"] is None
    assert run["energy"]["status"] == "not_requested"
    assert run["shape"]["inputs"] == [{"name": "x", "shape": [1, 64], "dtype": "float32"}]
    assert run["runtime"]["actual_provider"] == "CPUExecutionProvider"
    latency = run["latency_ms"]
    assert (
        0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    )
    assert run["memory"]["peak_rss_bytes"] > run["memory"]["runtime_rss_bytes"] > 0
    assert latency["count"] >= 20


def test_the_table_goes_to_stdout_and_progress_to_stderr(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    ended = edgeopt_host("push", tiny.matmul(tmp_path / "m.onnx", 64), *LOCAL)
    assert ended.returncode == 0
    assert "p50" in ended.stdout
    assert "launch 1 of 1" not in ended.stdout
    assert "local: m.onnx: launch 1 of 1, measuring" in ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr


def test_a_model_that_is_there_is_not_sent_again(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    model = tiny.matmul(tmp_path / "m.onnx", 64)
    assert "uploaded 16.1 KB" in edgeopt_host("push", model, *LOCAL).stderr
    assert "already on the device, nothing sent" in edgeopt_host("push", model, *LOCAL).stderr


def test_a_stored_run_is_found_whole(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    model = tiny.matmul(tmp_path / "m.onnx", 64)
    (run,) = pushed(edgeopt_host("push", model, *LOCAL, "--format", "json"))
    listed = json.loads(edgeopt_host("runs", "list", "--format", "json").stdout)
    assert [one["id"] for one in listed["runs"]] == [run["id"]]
    shown = edgeopt_host("runs", "show", run["id"][:6], "--samples", "--format", "json")
    document = json.loads(shown.stdout)
    latencies = [
        latency
        for launch in document["launches"]
        for block in launch["blocks"]
        for latency in block["latency_ns"]
    ]
    assert len(latencies) == run["latency_ms"]["count"]
    assert np.percentile(latencies, 95) / 1e6 == pytest.approx(run["latency_ms"]["p95"])


def test_inputs_and_outputs_are_files(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "in.npz", x=x)
    ended = edgeopt_host(
        "push", tiny.relu(tmp_path / "relu.onnx"), *LOCAL,
        "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_array_equal(outputs["y"], np.maximum(x, 0))


def test_external_data_travel_with_their_model(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    model = tiny.matmul(tmp_path / "m.onnx", 16, external=True)
    np.savez(tmp_path / "in.npz", x=np.ones((1, 16), np.float32))
    ended = edgeopt_host(
        "push", model, *LOCAL, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"
    )
    assert ended.returncode == 0, ended.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_array_equal(outputs["y"], np.full((1, 16), 16, np.float32))


def test_open_dimensions_are_bound_by_name(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    model = tiny.relu(tmp_path / "relu.onnx", ("batch", "length", 4))
    refused = edgeopt_host("push", model, *LOCAL, "--format", "json")
    assert refused.returncode == 4
    (run,) = pushed(refused)
    assert run["error"]["reason"] == "INPUT_REQUIRED"
    assert "--dim length=N" in run["error"]["message"]
    ended = edgeopt_host("push", model, *LOCAL, "--dim", "length=7", "--format", "json")
    assert pushed(ended)[0]["shape"]["inputs"][0]["shape"] == [1, 7, 4]


def test_a_plug_ins_runtime_is_used_by_its_name(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    model = tmp_path / "none.fault"
    model.write_text("none")
    ended = edgeopt_host("push", model, *LOCAL, "--runtime", "faulty", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    assert pushed(ended)[0]["runtime"]["implementation"] == "edgeopt-faulty"


def test_a_worker_that_crashes_is_reported_stored_and_exits_with_4(
    edgeopt_host: EdgeoptHost, tmp_path: Path, home: Path
) -> None:
    model = tmp_path / "m.fault"
    model.write_text("segfault")
    ended = edgeopt_host("push", model, *LOCAL, "--runtime", "faulty")
    assert ended.returncode == 4
    assert "SIGSEGV" in ended.stdout
    listed = json.loads(edgeopt_host("runs", "list", "--format", "json").stdout)
    assert listed["runs"][0]["error"]["reason"] == "WORKER_CRASHED"
    assert left_behind(home) == []


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def content(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BAD: dict[str, tuple[Callable[[Path], list[str | Path]], int, str]] = {
    "an empty file": (lambda t: [content(t / "a.tflite", b"")], 4, "is empty"),
    "text": (lambda t: [content(t / "a.tflite", b"hello, world\n")], 4, "is not a model"),
    "random bytes": (lambda t: [content(t / "a.bin", bytes(range(256)))], 4, "is not a model"),
    "a truncated ONNX": (
        lambda t: [content(t / "b.onnx", tiny.matmul(t / "a.onnx", 9).read_bytes()[:99])],
        4,
        "truncated",
    ),
    "a damaged TFLite": (
        lambda t: [content(t / "a.tflite", b"\x1c\0\0\0TFL3" + b"\x07" * 500)],
        4,
        "a.tflite",
    ),
    "an unresolvable operator": (
        lambda t: [tiny.unknown_operator(t / "a.onnx")],
        4,
        "FlyToTheMoon",
    ),
    "a shape that does not fit": (
        lambda t: [tiny.relu(t / "a.onnx"), "--shape", "x=1,5"],
        4,
        "does not take the shape",
    ),
    "a dtype that does not fit": (
        lambda t: [tiny.relu(t / "a.onnx"), "--inputs", npz(t / "i.npz", x=np.ones((1, 4)))],
        4,
        "float64",
    ),
    "a range the dtype cannot hold": (
        lambda t: [tiny.relu(t / "a.onnx", (4,), TensorProto.INT8), "--input-range", "0:300"],
        4,
        "-128 to 127",
    ),
    "a pickled object": (
        lambda t: [
            tiny.relu(t / "a.onnx"),
            "--inputs",
            npz(t / "i.npz", x=np.array([{}], dtype=object)),
        ],
        4,
        "pickled",
    ),
    "no archive": (
        lambda t: [tiny.relu(t / "a.onnx"), "--inputs", content(t / "i.npz", b"nothing")],
        4,
        "npz",
    ),
    "a path that cannot be read": (lambda t: [t / "missing.onnx"], 2, "cannot read the model"),
    "a folder": (lambda t: [t], 2, "cannot read the model"),
    "data that cannot be read": (
        lambda t: [tiny.relu(t / "a.onnx"), "--inputs", t / "missing.npz"],
        2,
        "cannot read the data file",
    ),
    "outputs that cannot be written": (
        lambda t: [tiny.relu(t / "a.onnx"), "--outputs", t / "no" / "out.npz"],
        2,
        "its folder does not exist",
    ),
    "a provider the device lacks": (
        lambda t: [tiny.relu(t / "a.onnx"), "--provider", "CUDAExecutionProvider"],
        4,
        "CPUExecutionProvider",
    ),
    "options of another format": (
        lambda t: [tiny.relu(t / "a.onnx"), "--no-xnnpack"],
        2,
        "--no-xnnpack is for tflite models",
    ),
    "another format's runtime": (
        lambda t: [tiny.relu(t / "a.onnx"), "--runtime", "tflite"],
        2,
        "--runtime tflite cannot execute",
    ),
    "a runtime nobody knows": (
        lambda t: [tiny.relu(t / "a.onnx"), "--runtime", "tensorrt"],
        4,
        "tensorrt",
    ),
    "an option's value without its form": (
        lambda t: [tiny.relu(t / "a.onnx"), "--dim", "sequence"],
        2,
        "SYMBOL=SIZE",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    edgeopt_host: EdgeoptHost, tmp_path: Path, home: Path, case: str
) -> None:
    make, code, message = BAD[case]
    ended = edgeopt_host("push", *make(tmp_path), *LOCAL)
    said = " ".join((ended.stdout + ended.stderr).split())
    assert ended.returncode == code, said
    assert message in said
    assert "Traceback" not in said
    assert left_behind(home) == []
    # The device is none the worse.
    works = edgeopt_host("push", tiny.relu(tmp_path / "good.onnx"), *LOCAL)
    assert works.returncode == 0, works.stderr


def test_a_bad_file_among_good_ones_fails_alone(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    good, bad = tiny.relu(tmp_path / "good.onnx"), content(tmp_path / "bad.onnx", b"")
    ended = edgeopt_host("push", good, bad, *LOCAL, "--format", "json")
    assert ended.returncode == 4
    measured, failed = pushed(ended)
    assert measured["error"] is None
    assert (failed["error"]["reason"], failed["id"]) == ("MODEL_INVALID", None)


def test_no_device_and_an_unknown_device_are_wrong_usage(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    model = tiny.relu(tmp_path / "m.onnx")
    ended = edgeopt_host("push", model)
    assert ended.returncode == 2
    assert "--device" in ended.stderr
    ended = edgeopt_host("push", model, "--device", "pi4")
    assert ended.returncode == 2
    assert "'pi4'" in ended.stderr


def test_devices_work_in_parallel_and_a_dead_one_holds_nobody_up(
    edgeopt_host: EdgeoptHost, start_agent: StartAgent, tmp_path: Path
) -> None:
    alive = start_agent(state_dir=tmp_path / "alive")
    dead = start_agent(state_dir=tmp_path / "dead")
    add(edgeopt_host, "alive", alive, "bench")
    add(edgeopt_host, "dead", dead, "bench")
    dead.process.kill()
    dead.process.wait()
    model = tiny.relu(tmp_path / "m.onnx")
    ended = edgeopt_host("push", model, "--tag", "bench", *QUICK, "--format", "json")
    assert ended.returncode == 4
    runs = {run["device"]["name"]: run for run in pushed(ended)}
    assert runs["alive"]["error"] is None
    assert runs["dead"]["error"]["reason"] == "UNREACHABLE"
    assert "edgeopt-agent serve" in runs["dead"]["error"]["message"]
    listed = json.loads(edgeopt_host("runs", "list", "--format", "json").stdout)
    assert [run["device"]["name"] for run in listed["runs"]] == ["alive"]


def test_an_agent_that_is_not_running_is_not_added(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    ended = edgeopt_host("device", "add", "ghost", f"unix:{tmp_path}/none.sock")
    assert ended.returncode == 4
    assert "ghost" not in edgeopt_host("device", "list").stdout


def test_a_full_disk_is_said_to_be_full_and_the_next_push_works(
    edgeopt_host: EdgeoptHost, start_agent: StartAgent, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mounted = f'mount -t tmpfs -o size=100m tmpfs {state} && exec "$@"'
    agent = start_agent(state_dir=state, wrap=("unshare", "-rm", "sh", "-c", mounted, "sh"))
    # The agent's own view of its disk, which this process does not share.
    disk = Path(f"/proc/{agent.process.pid}/root{state}")
    add(edgeopt_host, "full", agent)
    filler = disk / "filler"
    filler.write_bytes(bytes(34 * 2**20))
    model = tiny.matmul(tmp_path / "big.onnx", 1500)
    ended = edgeopt_host("push", model, "--device", "full", *QUICK, "--format", "json")
    assert ended.returncode == 4
    assert pushed(ended)[0]["error"]["reason"] == "NO_SPACE"
    assert list((disk / "partial").iterdir()) == []
    filler.unlink()
    ended = edgeopt_host("push", model, "--device", "full", *QUICK)
    assert ended.returncode == 0, ended.stderr


def start_push(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A push of a model that hangs, once it is under way."""
    model = tmp_path / "m.fault"
    model.write_text("hang")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "edgeopt_host.cli",
            "push",
            str(model),
            "--runtime",
            "faulty",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "loading" in line:
            break
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_on_the_device_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    process = start_push(tmp_path, "--device", "local")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelled on local" in errors
    assert "Traceback" not in errors


def test_a_host_that_is_killed_takes_the_local_agent_along(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    process = start_push(tmp_path, "--device", "local", "--timeout", "3")
    process.kill()
    process.communicate()
    # What the killed one had asked for is measured first, again from its start on.
    ended = edgeopt_host("push", tiny.relu(tmp_path / "m.onnx"), *LOCAL)
    assert ended.returncode == 0, ended.stderr
    assert "waiting: 1 before this one" in ended.stderr
    resumed = edgeopt_host("runs", "resume", "--format", "json")
    assert pushed(resumed)[0]["error"]["reason"] == "TIMED_OUT"


def test_two_commands_take_turns_on_the_local_device(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    first = start_push(tmp_path, "--device", "local", "--timeout", "3")
    ended = edgeopt_host("push", tiny.relu(tmp_path / "m.onnx"), *LOCAL)
    assert ended.returncode == 0
    assert "another edgeopt-host command is using the device local" in ended.stderr
    first.communicate(timeout=30)
    assert first.returncode == 4


def test_ctrl_c_ends_a_push_that_waits_for_its_turn(tmp_path: Path) -> None:
    first = start_push(tmp_path, "--device", "local")
    command = [sys.executable, "-m", "edgeopt_host.cli", "push"]
    second = subprocess.Popen(
        [*command, str(tiny.relu(tmp_path / "m.onnx")), *LOCAL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr is not None
    assert any("waiting for its end" in line for line in second.stderr)
    started = time.monotonic()
    second.send_signal(signal.SIGINT)
    _, errors = second.communicate(timeout=30)
    assert time.monotonic() - started < 3
    assert second.returncode == 130
    assert "cancelled before anything ran" in errors
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 130


def test_python_files_in_the_users_folder_are_not_executed(tmp_path: Path) -> None:
    model = tiny.relu(tmp_path / "m.onnx")
    for name in ("numpy", "onnxruntime", "edgeopt", "psutil", "grpc"):
        marker = f"open({str(tmp_path / 'marker')!r}, 'w').close()"
        (tmp_path / f"{name}.py").write_text(marker)
    # As the installed script does it: without the working folder on the path.
    code = "import sys; del sys.path[0]; from edgeopt_host.cli import main; main()"
    for path in ("", str(PLUGINS)):
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", code, "push", model.name, *LOCAL]
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert not (tmp_path / "marker").exists()
        assert ended.returncode == 0, ended.stderr


def test_a_plug_in_is_found_by_a_relative_path(tmp_path: Path) -> None:
    model = tmp_path / "none.fault"
    model.write_text("none")
    command = [sys.executable, "-m", "edgeopt_host.cli", "push", str(model), "--runtime", "faulty"]
    environment = {**os.environ, "PYTHONPATH": PLUGINS.name}
    ended = subprocess.run(
        [*command, *LOCAL],
        cwd=PLUGINS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    home = Path(os.environ["EDGEOPT_HOME"])
    assert (home / "data").stat().st_mode & 0o777 == 0o700


def test_what_a_run_fed_is_stored_with_it(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    model = tiny.matmul(tmp_path / "m.onnx", 16, external=True)
    data = npz(tmp_path / "in.npz", x=np.ones((1, 16), np.float32))
    ended = edgeopt_host("push", model, *LOCAL, "--inputs", data, "--threads", "1")
    assert ended.returncode == 0, ended.stderr
    (run,) = json.loads(edgeopt_host("runs", "export").stdout)["runs"]
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    assert run["request"]["inputs"]["file"] == {
        "sha256": digest,
        "size_bytes": data.stat().st_size,
    }
    assert run["request"]["execution"]["threads"] == 1
    names = [file["name"] for file in run["model"]["files"]]
    assert names == ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--duration", "nan"], 2, "no number of seconds"),
        (["--dim", f"batch={2**64}"], 2, "SYMBOL=SIZE"),
        (["--shape", f"x=1,{2**64}"], 2, "NAME=1,3,224,224"),
        (["--outputs", "/"], 2, "it is a folder"),
    ],
)
def test_numbers_and_paths_that_are_none_are_wrong_usage(
    edgeopt_host: EdgeoptHost, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    ended = edgeopt_host("push", tiny.relu(tmp_path / "m.onnx"), "--device", "local", *options)
    assert ended.returncode == code
    assert message in " ".join(ended.stderr.split())


def test_outputs_follow_a_link_and_leave_a_device_node_alone(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    model = tiny.relu(tmp_path / "m.onnx")
    link, target = tmp_path / "link.npz", tmp_path / "target.npz"
    link.symlink_to(target)
    assert edgeopt_host("push", model, *LOCAL, "--outputs", link).returncode == 0
    assert link.is_symlink()
    with np.load(target) as outputs:
        assert list(outputs) == ["y"]
    assert edgeopt_host("push", model, *LOCAL, "--outputs", "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()


def test_a_full_standard_output_is_said_plainly() -> None:
    for command, code in (("device list >/dev/full", 4), ("device list 2>/dev/full", 0)):
        shell = ["/bin/sh", "-c", f"{sys.executable} -m edgeopt_host.cli {command}"]
        ended = subprocess.run(shell, capture_output=True, text=True, check=False)
        assert ended.returncode == code
        assert "bug" not in ended.stderr


def test_an_agent_that_restarts_without_its_state_has_lost_the_benchmark(
    edgeopt_host: EdgeoptHost, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent("--listen=127.0.0.1:0", "--insecure")
    add(edgeopt_host, "board", agent)
    process = start_push(tmp_path, "--device", "board", "--format", "json")
    agent.process.kill()
    agent.process.wait()
    start_agent(f"--listen={agent.address}", "--insecure", state_dir=tmp_path / "again")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert json.loads(output)["runs"][0]["error"]["reason"] == "RESULT_LOST"
    assert "the connection is lost" in errors
