"""The pinned versions against what pyproject.toml demands, on every kind of machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]


def applying(lines: list[str], environment: dict[str, str]) -> list[Requirement]:
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [one for one in found if one.marker is None or one.marker.evaluate(environment)]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64"])
@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_each_pin_is_one_that_the_project_allows(machine: str, python: str) -> None:
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8")).unwrap()["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for extra in ("host", "tflite", "onnx", "torch", "reflection", "dev"):
        wanted += extras[extra]
    here = {"platform_machine": machine, "python_version": python}
    lines = (ROOT / "scripts" / "constraints.txt").read_text("utf-8").splitlines()
    pins = {one.name.lower(): one.specifier for one in applying(lines, here)}
    for requirement in applying(wanted, here):
        if requirement.name.lower() in pins:
            (pin,) = pins[requirement.name.lower()]
            assert requirement.specifier.contains(pin.version), requirement
    assert "torch" in pins


def test_scripts_use_what_every_unix_has() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    assert [path.name for path in scripts if "sha256sum" in path.read_text("utf-8")] == []
