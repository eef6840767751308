"""`edgeopt-host compare`: models against each other, measured in turns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeopt_host.cli import _output, _parse
from edgeopt_host.cli._measure_options import arguments, end_on_sigterm, measure_options
from edgeopt_host.errors import EdgeoptError, UsageError

if TYPE_CHECKING:
    from edgeopt_host.compare import Comparison
    from edgeopt_host.looks import Judge
    from edgeopt_host.plan import Plan

_BUDGET_S = 60.0
# More have no letters.
_MOST_MODELS = 26


@click.command()
@click.argument(
    "models", nargs=-1, required=True, metavar="MODEL MODEL…", type=click.Path(path_type=Path)
)
@measure_options()
@click.option(
    "--budget",
    type=_parse.Seconds(1),
    metavar="S",
    help="Seconds timed per device, over all MODELs, at most; default 60.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also as one page with plots.",
)
@_output.format_option()
def compare(models: tuple[Path, ...], format_: str, html: Path | None, **options: Any) -> int:
    """Measure MODELs in turns and show how the others differ from the first.

    Ends when every p50 ratio is known to within 1 %, or the budget is spent. With --launches,
    --duration or --quick it measures for so long instead. Needs at least one --device or --tag. Runs
    are stored.
    """
    if not (options["devices"] or options["tags"]):
        raise click.UsageError("give --device NAME (local is always there) or --tag TAG")
    if not 1 < len(models) <= _MOST_MODELS:
        raise click.UsageError(f"give 2 to {_MOST_MODELS} models, the one to compare with first")
    _output.check_writable(html)
    from edgeopt_host.bench import Bench
    from edgeopt_host.cli._progress import observer
    from edgeopt_host.compare import compare as compared

    asked = arguments(options)
    plan, judge = _plan(asked.pop("plan"), len(models), options)
    end_on_sigterm()
    with observer() as watching:
        runs = Bench().compare(models, plan=plan, judge=judge, observer=watching, **asked)
    comparison = compared(runs)
    _show(comparison, format_, html)
    return 0 if comparison.measured else 4


def _plan(base: Plan, models: int, options: dict[str, Any]) -> tuple[Plan, Judge | None]:
    """For as long as it takes within a budget, or for as long as was asked."""
    from edgeopt_host.compare import judge
    from edgeopt_host.stats.looks import Schedule

    fixed = [
        name
        for name in ("launches", "duration", "quick")
        if options[name] is not None and options[name] is not False
    ]
    if fixed and options["budget"] is not None:
        raise UsageError(f"--budget and --{fixed[0]} both say how long to measure: leave one out")
    if fixed:
        return base, None
    budget_s = options["budget"] or _BUDGET_S
    # A schedule's budget is that of two.
    plan = Schedule.relative(2 * budget_s / models, 0.05).plan(base)
    if options["warmup"] is not None:
        plan = dataclasses.replace(plan, warmup_s=options["warmup"])
    return plan, judge(budget_s)


def _show(comparison: Comparison, format_: str, html: Path | None) -> None:
    from edgeopt_host.report import comparison as report

    render = report.render_json if format_ == "json" else report.render
    _output.show(render(comparison))
    if html is None:
        return
    from edgeopt_host.report import html as pages

    try:
        _output.write(html, pages.compare(comparison))
    except UsageError as error:
        # It has been measured and shown; this is no wrong use of it.
        raise EdgeoptError(error.message, "OUTPUT") from error
    _output.note(f"report written to {html}")
