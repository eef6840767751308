"""`edgeopt-host baseline`: names for runs that others are compared with."""

from __future__ import annotations

from pathlib import Path

import click

from edgeopt_host.cli import _output


@click.group()
def baseline() -> None:
    """Names for runs that others are compared with: set, list, show, delete.

    A name stands for one run per device, and only `baseline set` moves it: a gate never does.
    """


@baseline.command("set")
@click.argument("name", metavar="NAME")
@click.argument("run_id", metavar="RUN")
@click.option("--note", metavar="TEXT", help="Kept beside it.")
@click.option("--replace", is_flag=True, help="Also when NAME stands for another run there.")
def set_(name: str, run_id: str, *, note: str | None, replace: bool) -> None:
    """Let NAME stand for a stored RUN, on the device that it was measured on."""
    from edgeopt_host import baselines
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        done = baselines.set_(store, name, run_id, note=note, replace=replace)
    run = done.run
    _output.note(f"{name} on {run.device.name} is run {run.id} of {run.model.name}")
    if done.old is not None:
        _output.note(f"in place of run {done.old.id}: {'; '.join(done.differences) or 'alike'}")
    if Path(name).exists():
        _output.note(
            f"warning: there is a file {name} here, which --baseline {name} of a gate takes first; "
            "choose another name, or run gates in another folder"
        )
    for warning in done.warnings:
        _output.note(f"warning: {warning}")


@baseline.command("list")
@click.option("--device", metavar="NAME", help="On this device.")
@_output.format_option()
def list_(device: str | None, format_: str) -> None:
    """List baselines."""
    from edgeopt_host.report import baselines as report
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        entries = [(b, store.get(b.run_id)) for b in store.baselines(device=device)]
    if format_ == "json":
        _output.show(report.render_json(entries))
    elif entries:
        _output.show(report.render_list(entries))
    else:
        _output.note("there are no baselines yet: edgeopt-host baseline set NAME RUN")


@baseline.command()
@click.argument("name", metavar="NAME")
@click.option("--device", metavar="NAME", help="On this device.")
@_output.format_option()
def show(name: str, *, device: str | None, format_: str) -> None:
    """Show what NAME stands for, and what a run must have in common with it."""
    from edgeopt_host import baselines
    from edgeopt_host.report import baselines as report
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        entries = [(b, store.get(b.run_id)) for b in baselines.find(store, name, device)]
    if format_ == "json":
        _output.show(report.render_json(entries))
    else:
        _output.show(report.render(entries))


@baseline.command()
@click.argument("name", metavar="NAME")
@click.option("--device", metavar="NAME", help="On this device; else on all.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(name: str, *, device: str | None, yes: bool) -> None:
    """Forget NAME. The runs stay."""
    from edgeopt_host import baselines
    from edgeopt_host.store import RunStore

    with RunStore.open() as store:
        found = baselines.find(store, name, device)
        where = ", ".join(f"{b.device} (run {b.run_id})" for b in found)
        _output.confirm(f"Forget the baseline {name} on {where}?", yes=yes)
        gone = store.drop_baseline(name, device)
    _output.note(f"forgot {name} on {', '.join(b.device for b in gone)}")
