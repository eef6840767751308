"""`edgeopt-host push`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeopt_host.cli import _parse
from edgeopt_host.cli._measure_options import arguments, end_on_sigterm, measure_options
from edgeopt_host.cli._output import format_option, show
from edgeopt_host.errors import Cancelled


@click.command()
@click.argument(
    "models", nargs=-1, required=True, metavar="MODEL…", type=click.Path(path_type=Path)
)
@measure_options()
@click.option(
    "--sustained",
    type=_parse.Period(),
    help="One launch this long: the curve of latency, temperature and clock.",
)
@click.option(
    "--outputs",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Write the outputs of one inference.",
)
@click.option("--profile", is_flag=True, help="Add a pass that tells the time per operator.")
@format_option()
def push(models: tuple[Path, ...], format_: str, **options: Any) -> int:
    """Upload MODELs to devices, run them there, report what it cost.

    Needs at least one --device or --tag. The result is stored; `edgeopt-host runs` finds it again.
    """
    if not (options["devices"] or options["tags"]):
        raise click.UsageError("give --device NAME (local is always there) or --tag TAG")
    from edgeopt_host import report
    from edgeopt_host.bench import Bench
    from edgeopt_host.cli._progress import observer

    end_on_sigterm()
    with observer() as watching:
        try:
            runs = Bench().push(models, observer=watching, **_arguments(options))
        except Cancelled:
            finished = watching.runs
            if finished:
                show(report.render(finished, format_))
            raise
    show(report.render(runs, format_))
    return 4 if any(run.error for run in runs) else 0


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The options as `Bench.push` takes them."""
    own = {name: options[name] for name in ("outputs", "profile")}
    return {**arguments(options), **own}
