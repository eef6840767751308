"""`edgeopt-host runs`: what was measured before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli.trend import trend
from edgeopt_host.errors import Cancelled, UsageError

_FORMATS = ("json", "csv", "markdown")  # of report.FORMATS, those that a file is for


@click.group()
def runs() -> None:
    """Stored runs: list, show, export, resume, trend, delete.

    Where a command takes an ID, its first characters do when no other run's begin so.
    """


runs.add_command(trend)


@runs.command("list")
@_output.filter_options
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N")
@click.option("--before", metavar="ID", help="The next page: runs older than this one.")
@_output.format_option()
def list_(format_: str, **filters: Any) -> None:
    """List stored runs, the newest first."""
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        found = store.list(**filters)
    if format_ == "json":
        from edgeopt_host import report

        _output.show(report.render(found, "json"))
        return
    if not found:
        _output.note(_none(filters))
        return
    from edgeopt_host.report.table import render_list

    _output.show(render_list(found))
    if len(found) == filters["limit"]:
        _output.note(f"older runs: --before {found[-1].id}, or a larger --limit")


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("--samples", is_flag=True, help="What it was computed from: every sample, as JSON.")
@_output.format_option()
def show(run_id: str, *, samples: bool, format_: str) -> None:
    """Show one run, whole."""
    from edgeopt_host import report
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        run = store.get(run_id, samples=samples)
    if format_ == "json" and not samples:
        _output.show(report.render([run], "json"))
        return
    from edgeopt_host.report import samples as all_samples

    if format_ == "json":
        _output.show(all_samples.render(run))
        return
    from edgeopt_host.report.table import render_stored

    _output.show(render_stored(run))
    if samples and run.launches:
        _output.show("\n" + all_samples.render_launches(run))
        _output.note(f"every sample: edgeopt-host runs show {run.id} --samples --format json")
    elif samples:
        _output.note("this run has no samples: no launch of it ended")


@runs.command()
@click.argument("ids", nargs=-1, metavar="[ID…]")
@_output.filter_options
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most the newest N.")
@_output.format_option(*_FORMATS, default="json")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Not stdout.")
def export(ids: tuple[str, ...], format_: str, output: Path | None, **filters: Any) -> None:
    """Export runs, by ID or by filter, as JSON, CSV or a Markdown table.

    Without ID and filter: all runs.
    """
    from edgeopt_host import report
    from edgeopt_host.store import RunStore

    if ids and any(filters.values()):
        raise UsageError("give IDs or filters, not both")
    with RunStore.open() as store:
        if ids:
            found = [store.get(run_id) for run_id in store.resolve(ids)]
        else:
            found = store.list(**filters)
    text = report.render(found, format_)
    if output is None or str(output) == "-":
        _output.show(text)
        return
    _output.write(output, text)
    _output.note(f"{_output.counted(found, 'run')} written to {output}")


@runs.command()
@click.option(
    "--device", "devices", multiple=True, metavar="NAME", help="Default: all that owe a run."
)
@click.option("--wait", is_flag=True, help="Also for what still waits or runs on its device.")
@click.option(
    "--drop", is_flag=True, help="Forget what these devices owe instead: they are gone for good."
)
@click.option("--yes", is_flag=True, help="With --drop: don't ask.")
@_output.format_option()
def resume(devices: tuple[str, ...], *, wait: bool, drop: bool, yes: bool, format_: str) -> int:
    """Fetch what devices finished for pushes that were killed or cut off.

    A push does so by itself for the devices it uses.
    """
    if drop:
        if wait or not devices:
            raise click.UsageError("--drop goes with --device NAME and without --wait")
        _drop(devices, yes=yes)
        return 0
    from edgeopt_host import report
    from edgeopt_host.bench import Bench
    from edgeopt_host.cli._progress import observer

    with observer() as watching:
        try:
            resumed = Bench().resume(devices, wait=wait, observer=watching)
        except Cancelled:
            if watching.runs:
                _output.show(report.render(watching.runs, format_))
            raise
    if resumed.runs or format_ == "json":
        _output.show(report.render(resumed.runs, format_))
    elif resumed.complete and not resumed.under_way:
        _output.note("nothing to fetch")
    return 0 if resumed.complete else 4


@runs.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(ids: tuple[str, ...], *, yes: bool) -> None:
    """Delete runs with all their samples. There is no way back."""
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        found = store.resolve(ids)
        _output.confirm(
            f"Delete {_output.counted(found, 'run')} for good ({', '.join(found)})?", yes=yes
        )
        count = store.delete(found)
    _output.note(f"deleted {count} run{'' if count == 1 else 's'}")


def _drop(devices: tuple[str, ...], *, yes: bool) -> None:
    """The devices need not be in the inventory any more."""
    from edgeopt_host.owner import Owner
    from edgeopt_host.resume import orphans
    from edgeopt_host.store import RunStore

    with RunStore.open() as store, Owner() as owner:
        owed = [pending for pending in orphans(store) if pending.device in devices]
        if not owed:
            _output.note(f"{', '.join(devices)}: nothing is owed")
            return
        what = f"{_output.counted(owed, 'run')} owed by {', '.join(devices)}"
        _output.confirm(f"Forget {what} for good?", yes=yes)
        for pending in owed:
            # Unless another command has begun to fetch it meanwhile.
            if store.claim(pending, owner.token):
                store.drop(pending.request_id)
                _output.note(f"dropped run {pending.run.id} of {pending.run.model.name}")
    _output.note(
        f"forgot {what}; should a device come back, `edgeopt-host device queue NAME --discard` has it "
        "forget them, too"
    )


def _none(options: dict[str, Any]) -> str:
    if any(options[name] for name in ("device", "model", "labels", "before")):
        return "no stored run matches"
    return "no runs are stored yet: edgeopt-host push MODEL --device local"
