"""`edgeopt-host gate`: decide by a policy whether a model may ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeopt_host.cli import _output
from edgeopt_host.cli._measure_options import MEASURING, arguments, end_on_sigterm, measure_options
from edgeopt_host.errors import EdgeoptError, UsageError

if TYPE_CHECKING:
    from edgeopt_host.gate.policy import Policy, PolicyError
    from edgeopt_host.gate.result import GateResult

_CHECK_SCHEMA = "edgeopt.policy-check/1"
_POLICY = click.Path(path_type=Path)
# What a policy may say, too: option → key of [gate].
_SHARED = {
    "batch": "batch",
    "streams": "streams",
    "rate": "rate_hz",
    "cooldown_below": "cooldown_below_c",
}
# How long to measure, and whether energy, is the policy's.
_OF_POLICY = {"launches", "warmup", "duration", "quick", "energy"}


@click.group()
def gate() -> None:
    """Decide by a policy whether a model may ship: run, init, check, schema.

    Four verdicts: pass (exit code 0), fail (1), inconclusive (3), not measurable (4).
    """


@gate.command()
@click.argument("path", default=Path("policy.toml"), type=_POLICY, metavar="[PATH]")
@click.option("--force", is_flag=True, help="Also where there is a file already.")
def init(path: Path, *, force: bool) -> None:
    """Write a commented policy to start from; default policy.toml."""
    from edgeopt_host.gate import template

    if path.exists() and not force:
        raise UsageError(f"{path} is there already: give another path, or --force")
    _output.write(path, template.TEXT)
    _output.note(f"{path} written; after editing: edgeopt-host gate check {path}")


@gate.command()
@click.argument("policy", type=_POLICY, metavar="POLICY")
@_output.format_option()
def check(policy: Path, format_: str) -> int:
    """Check a policy; tells everything that is wrong with it, by line."""
    from edgeopt_host.gate.policy import PolicyError
    from edgeopt_host.gate.read import load
    from edgeopt_host.tomlfile import Problem

    problems = []
    try:
        found = load(policy)
    except PolicyError as error:
        problems = error.problems
        _tell(error)
    except UsageError as error:
        if format_ != "json":
            raise
        problems = [Problem(None, "", error.message)]
        _output.note(error.message)
    if format_ == "json":
        document = {
            "schema": _CHECK_SCHEMA,
            "valid": not problems,
            "problems": [
                {"line": p.line, "key": p.key or None, "message": p.message} for p in problems
            ],
        }
        _output.show(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    elif not problems:
        _output.note(f"{policy}: {_output.counted(found.rules, 'rule')}, nothing wrong")
    return 2 if problems else 0


@gate.command()
def schema() -> None:
    """Print the policy's JSON schema, for an editor that completes and checks TOML.

    Save it beside the policy, and begin the policy with `#:schema ./policy.schema.json`.
    """
    from edgeopt_host.gate import schema as of_policy

    _output.show(of_policy.text())


@gate.command()
@click.argument("policy", type=_POLICY, metavar="POLICY")
@click.option(
    "--candidate", required=True, metavar="MODEL|RUN", help="A model's file, or a stored run."
)
@click.option(
    "--baseline",
    metavar="MODEL|RUN|NAME",
    help="What it is held against: a model's file is measured again, in turns with the candidate.",
)
@measure_options(without=_OF_POLICY)
@click.option("--junit", type=_POLICY, metavar="FILE", help="Also as JUnit XML.")
@click.option("--html", type=_POLICY, metavar="FILE", help="Also as one page with plots.")
@click.option("--markdown", type=_POLICY, metavar="FILE", help="Also as Markdown.")
@_output.format_option()
def run(policy: Path, candidate: str, baseline: str | None, format_: str, **options: Any) -> int:
    """Hold a candidate against a POLICY's rules, on devices.

    Needs at least one --device or --tag, but for a stored run. Runs are stored.
    """
    from edgeopt_host.bench import Bench
    from edgeopt_host.cli._progress import observer
    from edgeopt_host.data import LabelledData
    from edgeopt_host.gate.policy import PolicyError
    from edgeopt_host.gate.read import load
    from edgeopt_host.gate.run import Gate
    from edgeopt_host.store import RunStore

    files = {name: options.pop(name) for name in ("junit", "html", "markdown")}
    for path in files.values():
        _output.check_writable(path)
    _check_files_differ(policy, files)
    try:
        rules = load(policy)
    except PolicyError as error:
        _tell(error)
        return 2
    _check_said_once(rules, policy, options)
    if not (options["devices"] or options["tags"]) and Path(candidate).is_file():
        raise click.UsageError("give --device NAME (local is always there) or --tag TAG")
    asked = arguments(options)
    # Energy is the policy's to ask for.
    data, _ = asked.pop("data"), asked.pop("energy")
    if data is not None:
        # Refused now rather than when its turn comes.
        LabelledData.open(data)
    bench = Bench()
    with RunStore.open() as store:
        wanted = Gate.of(
            rules, policy, bench.inventory, store,
            devices=asked.pop("devices"), tags=asked.pop("tags"),
            candidate=candidate, baseline=baseline, data=data,
        )  # fmt: skip
    for rule in wanted.left_out:
        _output.note(f"{policy}, line {rule.line}: {rule.metric} is for none of these devices")
    if wanted.bout.candidate is None:
        _check_nothing_to_measure(candidate)
    end_on_sigterm()
    base = asked.pop("plan")
    with observer() as watching:
        result = wanted.decide(
            lambda models, *, evaluates, **given: bench.compare(
                models, data=data if evaluates else None, observer=watching, **given, **asked
            ),
            base,
            asked["execution"],
        )
    _report(result, format_, files)
    return result.exit_code


def _report(result: GateResult, format_: str, files: dict[str, Path | None]) -> None:
    """Shows the result first: whatever happens to the files, it is told."""
    from edgeopt_host.gate import table

    if format_ == "json":
        text = json.dumps(result.document(), indent=2, ensure_ascii=False, allow_nan=False)
        _output.show(text + "\n")
    else:
        _output.show(table.render(result))
    from edgeopt_host.report import github

    github.emit(result)
    for name, path in files.items():
        if path is not None:
            try:
                _output.write(path, _rendered(name, result))
            except UsageError as error:
                # The gate has been decided; this is no wrong use of it.
                raise EdgeoptError(error.message, "OUTPUT") from error
            _output.note(f"{name} written to {path}")


def _rendered(name: str, result: GateResult) -> str:
    from edgeopt_host.report import html, junit, markdown_gate

    render = {"junit": junit.render, "html": html.gate, "markdown": markdown_gate.render}
    return render[name](result)


def _check_files_differ(policy: Path, files: dict[str, Path | None]) -> None:
    """A file holds one thing."""
    found = {policy.resolve(): "the policy"}
    for name, path in files.items():
        if path is None:
            continue
        other = found.setdefault(path.resolve(), f"--{name}")
        if other != f"--{name}":
            raise UsageError(f"--{name} {path} is the file of {other}: give each its own")


def _check_nothing_to_measure(candidate: str) -> None:
    """How to measure is no question where nothing is measured; an answer would be ignored."""
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in MEASURING
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"{candidate} is a stored run, and nothing is measured: leave {', '.join(given)} out"
        )


def _check_said_once(rules: Policy, path: Path, options: dict[str, Any]) -> None:
    """The load's shape, and how launches begin, is said once."""
    for option, key in _SHARED.items():
        here, there = options[option], getattr(rules, key)
        if here is not None and there is not None and here != there:
            raise UsageError(
                f"--{option.replace('_', '-')} {here:g} contradicts {path}, whose [gate] has "
                f"{key} = {there:g}: take one out"
            )


def _tell(error: PolicyError) -> None:
    for line in error.lines():
        _output.note(line)
