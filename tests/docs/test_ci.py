"""The workflows in deploy/ci: what they call exists, and they end as the verdict says."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from edgeopt_host.cli import cli

CI = Path(__file__).parents[2] / "deploy" / "ci"
GITHUB, GITLAB = CI / "github-gate.yml", CI / "gitlab-gate.yml"


def read(path: Path) -> dict[Any, Any]:
    content = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def scripts(path: Path) -> Iterator[str]:
    content = read(path)
    if path == GITHUB:
        yield from (step["run"] for step in content["jobs"]["gate"]["steps"] if "run" in step)
    else:
        yield from content["gate"]["before_script"]
        yield from content["gate"]["script"]


def calls(path: Path) -> list[list[str]]:
    """The words of each `edgeopt-host …`, without what the shell takes for itself."""
    found = []
    for script in scripts(path):
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words[:1] == ["edgeopt-host"]:
                ends = [words.index(end) for end in ("||", "&&", ";") if end in words]
                found.append(words[1 : min(ends, default=len(words))])
    return found


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=lambda path: path.stem)
def test_every_command_and_option_exists(path: Path) -> None:
    names = []
    for words in calls(path):
        command: click.Command = cli
        context = click.Context(cli)
        rest = list(words)
        while isinstance(command, click.Group):
            found = command.get_command(context, rest[0])
            assert found is not None, words
            context = click.Context(found, parent=context, info_name=rest.pop(0))
            command = found
        names.append(context.command_path.strip())
        # Parsing alone: files need not be there.
        values, left, _ = command.make_parser(context).parse_args(args=list(rest))
        assert values
        arguments = [param for param in command.params if isinstance(param, click.Argument)]
        assert left == [] or any(param.nargs == -1 for param in arguments)
    assert names == ["identity import", "gate run"]


def gate(path: Path) -> str:
    (script,) = [script for script in scripts(path) if "gate run" in script]
    return script


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 4), (130, 130)])
def test_github_ends_as_the_verdict_says(code: int, ends: int, tmp_path: Path) -> None:
    program = tmp_path / "edgeopt-host"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/asked\nexit {code}\n')
    program.chmod(0o700)
    output = tmp_path / "output"
    env = {
        **read(GITHUB)["env"], "PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_SHA": "0123abc",
        "GITHUB_OUTPUT": str(output),
    }  # fmt: skip
    # As the runner does.
    ended = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", gate(GITHUB)],
        env=env, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == ends, ended.stderr
    assert output.read_text() == f"code={code}\n"
    assert ended.stdout.startswith("::warning title=edgeopt gate::inconclusive") == (code == 3)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:6] == [
        "gate", "run", "gate.toml", "--candidate", "models/model.tflite", "--baseline",
    ]  # fmt: skip


def test_gitlab_lets_an_inconclusive_gate_pass_with_a_warning_and_nothing_else() -> None:
    job = read(GITLAB)["gate"]
    assert job["allow_failure"] == {"exit_codes": [3]}
    # Nothing after it, so that the job ends with the gate's own exit code.
    assert job["script"] == [gate(GITLAB)]
    assert "||" not in gate(GITLAB)


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=lambda path: path.stem)
def test_reports_are_kept_whatever_the_verdict(path: Path) -> None:
    content = read(path)
    if path == GITHUB:
        (step,) = [s for s in content["jobs"]["gate"]["steps"] if "upload" in s.get("uses", "")]
        assert step["if"] == "always()"
        kept = step["with"]["path"].split()
    else:
        artifacts = content["gate"]["artifacts"]
        assert artifacts["when"] == "always"
        kept = [*artifacts["paths"], artifacts["reports"]["junit"]]
    words = shlex.split(gate(path).replace("\\\n", " "))
    written = [words[words.index(f"--{kind}") + 1] for kind in ("html", "junit", "markdown")]
    assert sorted(kept) == sorted(written)


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=lambda path: path.stem)
def test_secrets_stay_where_they_belong(path: Path) -> None:
    """No secret is on a command line, and no key outlives the job."""
    for script in scripts(path):
        assert "EDGEOPT_PASSPHRASE" not in script
    text = path.read_text("utf-8")
    assert "rm -rf" in text
    assert "pull_request_target" not in text
