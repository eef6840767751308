"""Models that attack the device, in real workers, under everything and under each mechanism alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import models
from conftest import PLUGINS
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import confine
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.launcher import run_worker
from edgeopt_host.plan import Inputs, InputShape, Plan
from plain_user import as_a_plain_user

EVERYTHING = confine.MECHANISMS
WITHOUT_BUBBLEWRAP = ("landlock", "seccomp", "rlimits")
BOTH = pytest.mark.parametrize(
    "mechanisms", [EVERYTHING, WITHOUT_BUBBLEWRAP], ids=["everything", "without-bubblewrap"]
)
# Of the first subject, in a job's folder.
MODEL = Path("subjects/0/model")
OUTSIDE = Path("/tmp/edgeopt-owned")  # noqa: S108 - where a model must not write
PLAN = Plan(launches=1, warmup_s=0.01, duration_s=0.05, min_inferences=3)


@pytest.fixture(autouse=True)
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers find the plug-in runtime, as an agent's would that was started with it."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    confine.found.cache_clear()
    yield
    confine.found.cache_clear()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent's state directory, with a key, and a home with another."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "identity.json").write_text("the agent's key")
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "id_ed25519").write_text("the user's key")
    monkeypatch.setenv("EDGEOPT_CACHE", str(models._cache().parent))
    monkeypatch.setenv("HOME", str(ssh.parent))
    return state


def launch(
    state: Path,
    model: str | Path,
    kind: str = "",
    *,
    runtime: str = "faulty",
    mechanisms: Collection[str] = EVERYTHING,
    memory_bytes: int | None = None,
    allowed_code: Collection[str] = (),
    subject: benchmark_pb2.Subject | None = None,
) -> list[benchmark_pb2.BenchmarkEvent]:
    """One launch as the queue makes it; its scratch folder must be gone afterwards."""
    folder = state / "scratch" / "job"
    place = folder / MODEL
    place.mkdir(parents=True, exist_ok=True)
    subject = subject or benchmark_pb2.Subject()
    subject.runtime = runtime
    if isinstance(model, Path):
        subject.files.add(name=model.name)
        (place / model.name).write_bytes(model.read_bytes())
    else:
        subject.files.add(name="model.fault")
        (place / "model.fault").write_text(model)
    events: list[benchmark_pb2.BenchmarkEvent] = []
    work = run_worker(
        benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message()),
        folder,
        3,
        lambda response: events.append(response.event),
        kind=kind,
        allowed_code=allowed_code,
        state_dir=state,
        mechanisms=mechanisms,
        memory_bytes=memory_bytes,
    )
    try:
        asyncio.run(work)
    finally:
        assert list(folder.glob("scratch-*")) == []
    return events


def attempts(state: Path, *lines: str, mechanisms: Collection[str] = EVERYTHING) -> dict[str, str]:
    """What came of each attempt, done within one launch."""
    model = "\n".join(["attempts", *lines])
    launch(state, model, "outputs", mechanisms=mechanisms)
    with np.load(state / "scratch" / "job" / "outputs.npz") as outcomes:
        return {name: str(outcomes[name]) for name in outcomes.files}


def failure(state: Path, model: str, kind: str = "", **options: object) -> WorkerError:
    with pytest.raises(WorkerError) as failed:
        launch(state, model, kind, **options)  # type: ignore[arg-type]
    return failed.value


@contextlib.contextmanager
def listening(address: object, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.bind(address)  # type: ignore[arg-type]
        end.listen()
        yield end


def test_this_machine_has_every_mechanism() -> None:
    assert confine.found().mechanisms == EVERYTHING
    assert confine.found().missing == ()


@BOTH
class TestEverything:
    def test_a_model_that_behaves_is_measured(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        events = launch(state, "none", mechanisms=mechanisms)
        assert {event.launch for event in events} == {3}
        (result,) = [event.result for event in events if event.HasField("result")]
        assert result.memory.peak_rss_bytes >= result.memory.runtime_rss_bytes > 0
        readings = [reading for event in events for reading in event.state.readings]
        assert all(reading.HasField("sensors") for reading in readings)

    def test_it_has_threads_its_scratch_folder_and_itself(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        done = attempts(
            state, "threads", "signals", "socketpair", "scratch", "read /proc/cpuinfo",
            "list /sys/class", "write /dev/null", "read /etc/os-release",
            mechanisms=mechanisms,
        )  # fmt: skip
        assert [outcome for outcome in done.values() if not outcome.startswith("done")] == []
        assert done["threads"] == "done 8"
        assert "/scratch/job/scratch-" in done["scratch"]

    def test_it_reaches_no_network(self, state: Path, mechanisms: Collection[str]) -> None:
        with (
            tempfile.TemporaryDirectory(dir="/tmp") as short,
            listening(("127.0.0.1", 0)) as tcp,
            listening(f"{short}/s", socket.AF_UNIX),
            listening("\0edgeopt-test", socket.AF_UNIX),
        ):
            kinds = ["tcp", "tcp6", "udp", "raw", "netlink", "unix"]
            refused = attempts(
                state,
                *(f"socket {kind}" for kind in kinds),
                f"connect {tcp.getsockname()[1]}",
                f"connect-unix {short}/s",
                "abstract edgeopt-test",
                mechanisms=mechanisms,
            )
        assert {outcome.partition(":")[0] for outcome in refused.values()} == {"PermissionError"}

    def test_it_writes_nothing_outside_its_scratch_folder(
        self, state: Path, tmp_path: Path, mechanisms: Collection[str]
    ) -> None:
        folder = state / "scratch" / "job"
        places = [state / "x", state / "identity.json", tmp_path / "x", OUTSIDE]
        places += [Path(f"{folder}/x") for folder in ("/var/tmp", "/dev/shm", "", "/etc")]  # noqa: S108
        # The model's file may be the agent's own copy, by a hard link.
        places += [folder / MODEL / "model.fault", folder / "benchmark-0", folder / "outputs.npz"]
        places += [Path("/proc/self/oom_score_adj"), PLUGINS / "edgeopt_faulty.py"]
        refused = attempts(
            state,
            *(f"write {place}" for place in places),
            f"link {folder / 'model' / 'model.fault'}",
            f"link {state / 'identity.json'}",
            mechanisms=mechanisms,
        )
        assert [line for line, outcome in refused.items() if outcome.startswith("done")] == []
        assert not OUTSIDE.exists()
        assert (state / "identity.json").read_text() == "the agent's key"

    def test_it_reads_no_secret(
        self, state: Path, mechanisms: Collection[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEOPT_DATABASE_URL", "postgresql://user:secret@host/db")
        monkeypatch.setenv("GH_TOKEN", "secret")
        monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
        home = Path.home()
        places = [state / "identity.json", home / ".ssh" / "id_ed25519", Path("/root/.bashrc")]
        places += [Path(f"/proc/{os.getpid()}/environ"), Path(f"/proc/{os.getpid()}/mem")]
        places += [Path("/dev/vda"), Path("/dev/mem"), Path("/dev/kmsg"), Path("/dev/tty0")]
        refused = attempts(
            state,
            *(f"read {place}" for place in places),
            f"list {state}", f"list {home}", f"list {home}/.ssh", "list /", "list /dev/input",
            mechanisms=mechanisms,
        )  # fmt: skip
        refused.pop(
            "list /" if "bubblewrap" in mechanisms else "", None
        )  # its own, empty of others'
        assert [line for line, outcome in refused.items() if outcome.startswith("done")] == []
        seen = attempts(
            state, "environment EDGEOPT_DATABASE_URL", "environment GH_TOKEN",
            "environment OMP_WAIT_POLICY", "inherited", "capabilities",
            mechanisms=mechanisms,
        )  # fmt: skip
        assert seen["environment EDGEOPT_DATABASE_URL"] == "done unset"
        assert seen["environment GH_TOKEN"] == "done unset"  # noqa: S105
        assert seen["environment OMP_WAIT_POLICY"] == "done passive"
        assert int(seen["capabilities"].split()[1], 16) == 0
        left = [name for name in seen["inherited"].split()[1:] if name.startswith("/")]
        assert [
            name for name in left if not name.startswith(("/sys/", "/proc/", "/dev/null"))
        ] == []

    def test_it_starts_no_process(self, state: Path, mechanisms: Collection[str]) -> None:
        refused = attempts(state, "fork", "spawn", "exec /bin/true", mechanisms=mechanisms)
        assert {outcome.partition(":")[0] for outcome in refused.values()} == {"PermissionError"}

    def test_it_touches_no_other_process(self, state: Path, mechanisms: Collection[str]) -> None:
        me = os.getpid()
        before = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)
        lines = [f"{what} {me}" for what in ("kill", "ptrace", "prlimit")]
        refused = attempts(state, *lines, "kill -1", "kill 0", "kill 1", mechanisms=mechanisms)
        assert [line for line, outcome in refused.items() if outcome.startswith("done")] == []
        assert psutil.Process().rlimit(psutil.RLIMIT_NOFILE) == before

    def test_it_slows_nobody_down_and_dies_with_its_agent(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        me = psutil.Process()
        before = (me.cpu_affinity(), me.nice(), me.ionice(), os.sched_getscheduler(0))
        # In its own namespace bubblewrap's is the process that it would be tried on.
        pid = 1 if "bubblewrap" in mechanisms else me.pid
        lines = [f"{what} {pid}" for what in ("nice", "ionice", "policy", "affinity")]
        refused = attempts(state, *lines, "outlive", mechanisms=mechanisms)
        assert {outcome.partition(":")[0] for outcome in refused.values()} == {"PermissionError"}
        assert (me.cpu_affinity(), me.nice(), me.ionice(), os.sched_getscheduler(0)) == before
        own = attempts(
            state, "bind-a-thread", "nice 0", "policy 0", "ionice 0", "affinity 0",
            "limit RLIMIT_CPU", mechanisms=mechanisms,
        )  # fmt: skip
        # The time limit of the plan, on every CPU.
        seconds = struct.unpack("q", bytes.fromhex(own.pop("limit RLIMIT_CPU").split()[1]))
        assert seconds == (600 * (os.cpu_count() or 1),)
        assert {outcome.split()[0] for outcome in own.values()} == {"done"}
        assert own["bind-a-thread"] == "done 1"

    def test_folders_as_deep_as_it_likes_are_removed(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        assert attempts(state, "nest 2000", mechanisms=mechanisms) == {"nest 2000": "done"}

    def test_it_has_none_of_the_kernels_dangerous_parts(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        calls = ["mount", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "perf_event_open"]
        calls += ["userfaultfd", "pidfd_open", "process_vm_readv", "reboot", "shmget", "x32"]
        refused = attempts(
            state, *(f"call {call}" for call in calls), "chroot /", mechanisms=mechanisms
        )
        assert {outcome.partition(":")[0] for outcome in refused.values()} == {"PermissionError"}
        # What tells the C library to use clone instead.
        assert "Function not implemented" in attempts(state, "call clone3")["call clone3"]

    def test_its_deaths_are_told_apart(self, state: Path, mechanisms: Collection[str]) -> None:
        for fault, reason, words in [
            ("segfault", "WORKER_CRASHED", "SIGSEGV"),
            ("illegal", "WORKER_CRASHED", "SIGILL"),
            ("kill", "WORKER_KILLED", "SIGKILL"),
            ("exit", "WORKER_FAILED", "exit code 3; its last words: going home"),
            ("native_memory", "OUT_OF_MEMORY", "could not get the memory"),
            ("liar", "WORKER_FAILED", "mmm"),
        ]:
            seen = failure(state, fault, mechanisms=mechanisms)
            assert (seen.reason, words in seen.message) == (reason, True), seen.message
            assert len(seen.message) <= 2000

    def test_a_memory_bomb_gets_what_the_device_has_and_no_more(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        seen = failure(state, "memory", mechanisms=mechanisms, memory_bytes=2**30)
        assert seen.reason == "OUT_OF_MEMORY"

    def test_a_thread_bomb_ends_by_itself(self, state: Path, mechanisms: Collection[str]) -> None:
        # Root has no limit of threads, but their stacks are memory.
        seen = failure(state, "threads", mechanisms=mechanisms, memory_bytes=4 * 2**30)
        assert "can't start new thread" in seen.message

    def test_a_file_too_large_is_refused(self, state: Path, mechanisms: Collection[str]) -> None:
        done = attempts(state, f"file {2**30}", f"file {2**30 + 1}", mechanisms=mechanisms)
        assert [outcome[:9] for outcome in done.values()] == ["done", "OSError: "]
        seen = failure(state, "large", "outputs", mechanisms=mechanisms)
        assert (seen.reason, "too large" in seen.message) == ("WORKER_FAILED", True)

    def test_floods_end_it_and_the_agent_keeps_little(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        before = psutil.Process().memory_info().rss
        for fault, words in [
            ("torrent", "printed more than 256 MiB"),
            ("events_flood", "more than 100000 events"),
            ("events_large", "more than 256 MiB of events"),
            ("event_endless", "an event of 4294967295 bytes"),
            ("events_hollow", "more than 200000 parts"),
        ]:
            seen = failure(state, fault, mechanisms=mechanisms)
            assert seen.reason == "WORKER_FAILED"
            assert words in seen.message
        # All events of two floods are in the list of this test's `launch`; nothing else may be.
        assert psutil.Process().memory_info().rss - before < 700 * 2**20

    def test_a_link_in_the_place_of_outputs_is_not_followed(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        model = f"link\n{state / 'identity.json'}"
        seen = failure(state, model, "outputs", mechanisms=mechanisms)
        assert (seen.reason, "a link" in seen.message) == ("WORKER_FAILED", True)
        assert not (state / "scratch" / "job" / "outputs.npz").exists()

    def test_cancelling_leaves_nothing_behind(
        self, state: Path, mechanisms: Collection[str]
    ) -> None:
        folder = state / "scratch" / "job"
        (folder / MODEL).mkdir(parents=True)
        (folder / MODEL / "m").write_text("hang")
        subject = benchmark_pb2.Subject(runtime="faulty")
        subject.files.add(name="m")
        task = benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message())

        async def cancel() -> None:
            loading = asyncio.Event()
            work = asyncio.create_task(
                run_worker(
                    task, folder, 0, lambda _: loading.set(), state_dir=state, mechanisms=mechanisms
                )
            )
            await loading.wait()
            work.cancel()
            await asyncio.wait([work])

        asyncio.run(cancel())
        assert psutil.Process().children(recursive=True) == []
        about = str(folder)
        assert not [p for p in psutil.process_iter(["cmdline"]) if about in str(p.info["cmdline"])]

    @pytest.mark.parametrize("runtime", ["tflite", "onnx", "ptl"])
    def test_real_runtimes_work_with_threads_profile_and_outputs(
        self, state: Path, mechanisms: Collection[str], runtime: str
    ) -> None:
        if runtime == "tflite":
            model, inputs = models.fetch("pymicro-wakeword", "okay_nabu.tflite"), Inputs()
        else:
            model = models.build(f"pnet.{runtime}")
            inputs = Inputs(shapes=[InputShape("image", (1, 3, 48, 48))])
        for kind in ("", "profile", "outputs"):
            subject = benchmark_pb2.Subject(threads=2, inputs=inputs.message())
            options = {"runtime": runtime, "mechanisms": mechanisms, "subject": subject}
            events = launch(state, model, kind, **options)  # type: ignore[arg-type]
            for event in events:
                assert not event.profile.unavailable_reason
            if kind == "profile":
                assert any(event.profile.operators for event in events)
        with np.load(state / "scratch" / "job" / "outputs.npz") as outputs:
            assert outputs.files


class TestOneMechanism:
    """What each gives where the others are missing, and what it does not."""

    def test_bubblewrap(self, state: Path) -> None:
        with listening(("127.0.0.1", 0)) as tcp:
            port = tcp.getsockname()[1]
            seen = attempts(
                state,
                f"read {state / 'identity.json'}", f"read {Path.home() / '.ssh' / 'id_ed25519'}",
                f"connect {port}", "write /tmp/x", f"kill {os.getpid()}", "read /dev/vda",
                "write /x", "write /dev/x", "processes", "fork",
                mechanisms=["bubblewrap"],
            )  # fmt: skip
        assert [line for line, out in seen.items() if out.startswith("done")] == [
            "processes",
            "fork",
        ]
        assert int(seen["processes"].split()[1]) <= 2

    def test_bubblewrap_ends_what_left_the_group(self, state: Path) -> None:
        seen = failure(state, "escape", mechanisms=["bubblewrap"])
        assert (seen.reason, "exit code 3" in seen.message) == ("WORKER_FAILED", True)
        sleepers = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]
        assert not [p for p in sleepers if "import time; time.sleep(30)" in p.info["cmdline"]]

    def test_landlock(self, state: Path, tmp_path: Path) -> None:
        with (
            tempfile.TemporaryDirectory(dir="/tmp") as short,
            listening(("127.0.0.1", 0)) as tcp,
            listening(f"{short}/s", socket.AF_UNIX),
        ):
            seen = attempts(
                state,
                f"read {state / 'identity.json'}", f"read {Path.home() / '.ssh' / 'id_ed25519'}",
                f"write {tmp_path / 'x'}", f"read /proc/{os.getpid()}/environ",
                f"connect {tcp.getsockname()[1]}", f"kill {os.getpid()}",
                f"ptrace {os.getpid()}", f"connect-unix {short}/s", "fork",
                mechanisms=["landlock"],
            )  # fmt: skip
        done = [line.split()[0] for line, out in seen.items() if out.startswith("done")]
        assert done == ["connect-unix", "fork"]

    def test_seccomp(self, state: Path, tmp_path: Path) -> None:
        seen = attempts(
            state,
            "socket tcp", "socket unix", "fork", "spawn", f"kill {os.getpid()}", "threads",
            f"write {tmp_path / 'x'}",
            mechanisms=["seccomp"],
        )  # fmt: skip
        done = [line.split()[0] for line, out in seen.items() if out.startswith("done")]
        assert done == ["threads", "write"]

    def test_rlimits(self, state: Path) -> None:
        seen = attempts(
            state, f"file {2**30 + 1}", "limit RLIMIT_CORE", "capabilities", "fork",
            mechanisms=["rlimits"],
        )  # fmt: skip
        assert seen[f"file {2**30 + 1}"].startswith("OSError")
        assert int(seen["limit RLIMIT_CORE"].split()[1], 16) == 0
        assert int(seen["capabilities"].split()[1], 16) == 0
        assert seen["fork"] == "done"
        bomb = failure(state, "memory", mechanisms=["rlimits"], memory_bytes=2**30)
        assert bomb.reason == "OUT_OF_MEMORY"


def test_what_a_worker_makes_of_the_agent_does_not_reach_the_next(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        # The one that starts workers, and nothing keeps them from it here.
        agent = threading.get_native_id()
        first = attempts(state, "affinity-now", "priority-now")
        harm = attempts(state, f"affinity {agent}", mechanisms=["rlimits"])
        assert set(harm.values()) == {"done"}
        assert len(os.sched_getaffinity(0)) == 1
        assert attempts(state, "affinity-now", "priority-now") == first
        assert "CPUs from " in caplog.text
        assert attempts(state, f"nice {agent}", mechanisms=["rlimits"])[f"nice {agent}"] == "done"
        # Nobody but root gives that back.
        seen = failure(state, "none")
        assert seen.reason == "WORKER_FAILED"
        assert "(nice from 0 to 19: Permission denied); restart the agent" in seen.message

    as_a_plain_user(run)


def test_a_worker_whose_agent_has_died_before_it_could_tell_ends(tmp_path: Path) -> None:
    receive, send = os.pipe()
    os.close(receive)
    worker = ["-m", "edgeopt_agent.worker", str(tmp_path), "--launch=0", f"--events={send}"]
    ended = subprocess.run(
        [sys.executable, *worker, "--confinement", str(confine.Confinement())],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[send],
        check=False,
    )
    os.close(send)
    assert (ended.returncode, ended.stderr) == (1, b"the agent has ended\n")


def test_what_the_agent_knows_better_is_not_taken_from_a_worker(state: Path) -> None:
    events = launch(state, "forger", "outputs")
    assert {(event.launch, event.sequence) for event in events} == {(3, 0)}
    phases = {event.progress.phase for event in events if event.HasField("progress")}
    assert phases <= set(benchmark_pb2.Progress.Phase.values())
    outputs = [event.outputs for event in events if event.HasField("outputs")]
    assert outputs
    assert not any(output.HasField("file") for output in outputs)


def test_what_is_for_others_to_say_is_not_taken_from_a_worker(state: Path) -> None:
    events = launch(state, "meddler")
    kinds = {event.WhichOneof("event") for event in events}
    assert kinds == {"progress", "execution", "samples", "state", "result"}


def test_a_state_directory_below_what_is_read_stays_unreadable(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody's PYTHONPATH is the folder that everything lies in.
    (tmp_path / "readable").write_text("yes")
    monkeypatch.setenv("PYTHONPATH", f"{PLUGINS}:{tmp_path}")
    confine.found.cache_clear()
    for mechanisms in (EVERYTHING, ["landlock"], ["bubblewrap"]):
        seen = attempts(
            state,
            f"read {tmp_path / 'readable'}",
            f"read {state / 'identity.json'}",
            f"read {Path.home() / '.ssh' / 'id_ed25519'}",
            mechanisms=mechanisms,
        )
        assert [outcome.startswith("done") for outcome in seen.values()] == [True, False, False]


def test_code_runs_only_where_the_device_was_told_so(state: Path) -> None:
    script = models.fetch("silero-vad", "silero_vad.jit")
    with pytest.raises(WorkerError) as refused:
        launch(state, script, runtime="ptl", subject=benchmark_pb2.Subject(threads=1))
    assert refused.value.reason == "CODE_NOT_ALLOWED"
    assert "--allow torchscript" in refused.value.message
    shapes = [InputShape("x", (1, 512))]
    subject = benchmark_pb2.Subject(threads=1, inputs=Inputs(shapes=shapes).message())
    with pytest.raises(WorkerError) as ran:
        launch(state, script, runtime="ptl", subject=subject, allowed_code=["torchscript"])
    # It was opened and executed: its own words.
    assert ran.value.reason == "INFERENCE_FAILED"


def test_a_delegates_library_is_loaded_only_where_the_device_was_told_so(
    state: Path, tmp_path: Path
) -> None:
    library = tmp_path / "libdelegate.so"
    library.write_bytes(b"no library")
    model = models.fetch("pymicro-wakeword", "okay_nabu.tflite")
    for allowed, reason in (([], "CODE_NOT_ALLOWED"), (["delegates"], "PROVIDER_UNAVAILABLE")):
        subject = benchmark_pb2.Subject(threads=1)
        subject.providers.add(name=str(library))
        with pytest.raises(WorkerError) as refused:
            launch(state, model, runtime="tflite", subject=subject, allowed_code=allowed)
        assert refused.value.reason == reason
    assert "file too short" in refused.value.message


def test_a_worker_that_cannot_be_confined_as_found_opens_no_model(tmp_path: Path) -> None:
    # The kernel stacks 16 layers of Landlock, and this worker has them already.
    around = """
import os, sys
from pathlib import Path
from edgeopt_agent.confine import _landlock, _privileges
_privileges.no_new_privileges()
for _ in range(16):
    _landlock.restrict([Path("/")], [Path("/")], [])
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
    receive, send = os.pipe()
    confinement = confine.Confinement(("landlock",), scratch=str(tmp_path))
    worker = ["-m", "edgeopt_agent.worker", str(tmp_path), "--launch=0", f"--events={send}"]
    ended = subprocess.run(
        [sys.executable, "-c", around, *worker, "--confinement", str(confinement)],
        input=b"",
        pass_fds=[send],
        check=False,
    )
    os.close(send)
    with os.fdopen(receive, "rb") as events:
        told = benchmark_pb2.BenchmarkEvent.FromString(events.read()[4:]).benchmark.failure
    assert ended.returncode == 1
    assert told.reason == "CONFINEMENT_FAILED"
    assert told.message.startswith("the worker opened no model, because landlock failed: ")


def test_threads_that_were_there_before_are_an_error() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(confine.ConfinementError, match=r"\d+ more threads run"):
            confine.Confinement().enter()
    finally:
        stop.set()
        thread.join()
