"""The reference against the code: nothing missing, nothing that is gone."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeopt_agent import sensors
from edgeopt_host.report.csv import COLUMNS
from edgeopt_host.report.samples import render
from sample_runs import whole_run

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SOURCES = [*(ROOT / "agent").rglob("*.py"), *(ROOT / "host").rglob("*.py")]

# What is called, or subclassed, with a reason or code.
ERRORS = {
    "InvalidArgument", "NotFound", "FailedPrecondition", "ResourceExhausted", "WorkerError",
    "AgentError", "ModelError", "EdgeoptError", "UsageError", "ModelFileError", "StoreError",
    "DeviceError", "Unreachable", "Untrusted", "Cancelled", "Failure", "ErrorInfo", "fail", "_stopped",
    "Unauthenticated", "PermissionDenied", "DeadlineExceeded", "StorageError", "Stopping",
}  # fmt: skip
WARNINGS = {"Warning", "BenchmarkWarning", "_warn", "warn"}
CODE = re.compile(r"[A-Z][A-Z0-9]+(_[A-Z0-9]+)*")


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def first_cells(text: str) -> set[str]:
    """What stands in backquotes in the first cells of a page's tables."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def codes(calls: set[str]) -> set[str]:
    """Reasons or codes that the source gives to these calls, or sets as a class's `reason`."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found |= {value for value in _given(node, calls) if CODE.fullmatch(value)}
    return found


def _given(node: ast.AST, calls: set[str]) -> Iterator[str]:
    values: list[ast.expr] = []
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        if name in calls:
            values = [
                *node.args[:2],
                *(k.value for k in node.keywords if k.arg in {"reason", "code"}),
            ]
    elif isinstance(node, ast.ClassDef) and node.name in calls:
        values = [item.value for item in node.body if isinstance(item, ast.Assign)]
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def test_commands_and_options_are_up_to_date() -> None:
    script = Path(__file__).with_name("cli_reference.py")
    made = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    ).stdout
    assert made == page("cli.md"), (
        ".venv/bin/python tests/docs/cli_reference.py > docs/reference/cli.md"
    )


def codes_of_scripts() -> set[str]:
    """Reasons that deploy/linux's scripts give."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "deploy" / "linux").glob("*.sh"))
    return set(re.findall(r'(?:fail |print\("|wrong="|echo ")([A-Z]+_[A-Z_]+) ', text))


def test_every_reason_is_documented() -> None:
    assert first_cells(page("errors.md")) == codes(ERRORS) | codes_of_scripts()


def codes_of_classes() -> set[str]:
    """What classes that stand for a warning set as their `code`."""
    text = "".join(path.read_text("utf-8") for path in SOURCES)
    return set(re.findall(r'^    code = "([A-Z_]+)"$', text, re.MULTILINE))


def test_every_warning_is_documented() -> None:
    assert first_cells(page("warnings.md")) == codes(WARNINGS) | codes_of_classes()


def keys(value: Any, prefix: str = "") -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, dict) and key not in {
            "labels",
            "clock_mhz",
            "accuracy",
            "error",
            "sustained",
        }:
            yield from keys(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_key_of_a_push_is_documented() -> None:
    document = whole_run().document()
    assert first_cells(page("push-json.md")) == set(keys(document))
    for name in ("inputs", "profile", "warnings"):
        items = document["shape"]["inputs"] if name == "inputs" else document[name]
        assert all(f"`{key}`" in page("push-json.md") for key in items[0])


def test_every_key_of_the_samples_is_documented() -> None:
    text = page("runs-json.md")
    document = json.loads(render(whole_run()))
    launch = document["launches"][0]
    for part in (document, launch, launch["memory"], launch["blocks"][0], launch["readings"][0]):
        assert [key for key in part if key != "schema" and f"`{key}`" not in text] == []


def test_every_column_is_documented_in_its_order() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (?:`([\w.]+)`|the same) \|$", page("runs-json.md"), re.MULTILINE
    )
    assert [(column, key or column) for column, key in rows] == list(COLUMNS.items())


def test_every_sensor_and_quantity_is_documented() -> None:
    text = page("sensors.md")
    assert set(re.findall(r"^## `(.+)`$", text, re.MULTILINE)) == set(sensors.names())
    assert first_cells(text) == {quantity.value for quantity in sensors.Quantity}


def test_every_variable_is_documented() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    text = "".join(
        path.read_text("utf-8") for path in [*SOURCES, *scripts, ROOT / "tests" / "models.py"]
    )
    known = first_cells(page("environment.md"))
    assert {name for name in known if name.startswith("EDGEOPT_")} == set(
        re.findall(r"\bEDGEOPT_[A-Z_]+\b", text)
    )


@pytest.mark.parametrize("name", ["AgentService", "BlobService"])
def test_every_method_is_documented(name: str) -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "protos").rglob("*.proto"))
    (service,) = re.findall(rf"^service {name} {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", page("protocol.md"), re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == re.findall(r"rpc (\w+)", service)
