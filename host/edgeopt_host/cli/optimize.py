"""`edgeopt-host optimize`: make a model smaller and faster, and see what each step did to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgeopt_host.cli import _output
from edgeopt_host.cli._measure_options import end_on_sigterm
from edgeopt_host.errors import Cancelled

_PATH = click.Path(path_type=Path)


@click.group()
def optimize() -> None:
    """Quantize and convert models, and measure what each step does to them."""


@optimize.command()
@click.argument("model", required=False, metavar="[MODEL]")
@click.option(
    "--steps",
    metavar="STEPS",
    help='What to do: "quantize:int8,io=int8; convert:onnx,from=original".',
)
@click.option(
    "--recipe", type=_PATH, metavar="FILE.toml", help="All of this in a file; options win."
)
@click.option(
    "--data",
    metavar="SOURCE",
    help="FILE.npz, a folder of images, module:function or FILE.py:function.",
)
@click.option(
    "--field-data", "field", metavar="SOURCE", help="From where devices are, to compare with."
)
@click.option(
    "--calibration",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Examples to calibrate with; default 200.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1_000_000),
    metavar="N",
    help="Examples to validate with, or their share below 1; default 0.1.",
)
@click.option(
    "--weights", metavar="FILE.pt", help="State dict for a MODEL of the form FILE.py:FACTORY."
)
@click.option("--code", metavar="FILE.py", help="A Keras model's own classes.")
@click.option(
    "--metric",
    metavar="METRIC",
    help="accuracy, topK, mean_absolute_error, agreement, or FILE.py:function; else as labels suggest.",
)
@click.option(
    "--top-k",
    "top_k",
    type=click.IntRange(2, 1000),
    multiple=True,
    metavar="K",
    help="Also show it.",
)
@click.option(
    "--robustness/--no-robustness",
    default=None,
    help="Whether noise, blur, brightness and gaps are tried; default yes.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Measure there; local is always there.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="All devices with this tag.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Default 0.")
@click.option("--fresh", is_flag=True, help="Make anew what an earlier run has made and kept.")
@click.option(
    "-o",
    "--out",
    type=_PATH,
    required=True,
    metavar="FOLDER",
    help="For models, history and report.",
)
@_output.format_option()
def run(format_: str, out: Path, **options: Any) -> int:
    """Make models of MODEL, step by step, and tell what each step did to it.

    MODEL is a Keras, SavedModel, ONNX or TFLite file or folder, or FILE.py:FACTORY for PyTorch. Steps that
    were finished are kept: run it again to go on where it stopped.
    """
    from edgeopt_host.cli._optimize_progress import watcher
    from edgeopt_host.optimize.run import optimize as run_recipe
    from edgeopt_host.report import optimization

    model = options.pop("model")
    for many in ("devices", "tags", "top_k"):
        options[many] = options[many] or None
    end_on_sigterm()
    try:
        with watcher() as watching:
            history = run_recipe(model, out=out, watcher=watching, **options)
    except Cancelled:
        _output.note("finished steps are kept: the same command goes on from there")
        raise
    if format_ == "json":
        _output.show(json.dumps(history, indent=2, allow_nan=False) + "\n")
    else:
        _output.show(optimization.render(history))
    _output.note(f"models, history and report are in {out}: open {out / 'report.html'}")
    return 4 if _failed(history) else 0


@optimize.command()
@click.argument("name", required=False)
@_output.format_option()
def techniques(name: str | None, format_: str) -> int:
    """List the techniques, or tell all about the one of this NAME."""
    from edgeopt_host.optimize import registry
    from edgeopt_host.report import techniques as report

    found = registry.named(name) if name else list(registry.techniques())
    if format_ == "json":
        _output.show(report.render_json(found))
    else:
        _output.show(report.render_one(found) if name else report.render(found))
    for plug_in in registry.broken():
        _output.note(f"warning: {plug_in}")
    return 0


def _failed(history: dict[str, Any]) -> bool:
    """Whether anything that was asked for could not be made or measured."""
    steps = any(step["error"] for step in history["steps"])
    return steps or any(
        model["error"] for device in history["devices"] for model in device["models"]
    )
