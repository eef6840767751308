"""`edgeopt-host runs trend`: how a model's figure came to be what it is."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from edgeopt_host.cli import _output


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="On this device; default: on each that has runs of it.",
)
@click.option(
    "--metric",
    default="p50_latency_ms",
    show_default=True,
    metavar="NAME",
    help="As gates call it.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    metavar="DATE",
    help="Only runs from then on, in UTC: 2026-11-02.",
)
@_output.format_option()
def trend(
    model: str, *, devices: tuple[str, ...], metric: str, since: datetime | None, format_: str
) -> None:
    """Show the history of a figure of MODEL, and where it changed.

    MODEL is a file's name, in all its builds, or the beginning of a sha256. Runs stand in one series
    when they are comparable; steps and slow drifts beyond noise are named.
    """
    from edgeopt_host import trend as history
    from edgeopt_host.report import trend as report
    from edgeopt_host.store import RunStore

    since = since and since.replace(tzinfo=timezone.utc)
    with RunStore.open() as store:
        found = history.trend(store, model, devices=devices, metric=metric, since=since)
    _output.show(report.render_json(found) if format_ == "json" else report.render(found))
    if since and not found.series and not found.left_out:
        _output.note(f"no run of {model!r} began since {since:%Y-%m-%d}")
    elif not found.series:
        _output.note(f"none of these runs can stand in a series of {metric}")
