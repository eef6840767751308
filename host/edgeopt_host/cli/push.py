"""`edgeopt-host push`."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import click

from edgeopt_host.cli import _parse
from edgeopt_host.cli._output import format_option, show
from edgeopt_host.errors import Cancelled


@click.command()
@click.argument(
    "models", nargs=-1, required=True, metavar="MODEL…", type=click.Path(path_type=Path)
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="A device of the inventory, or local.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="All devices with this tag.")
@click.option(
    "--runtime",
    metavar="NAME",
    help="tflite, onnx, ptl or a plug-in's; else by the file's content.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: one per performance core.")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="ONNX execution provider; repeat for an order of preference.",
)
@click.option(
    "--delegate",
    "delegates",
    multiple=True,
    type=_parse.DelegateOption(),
    help="TFLite delegate: its library on the device, with options.",
)
@click.option("--no-xnnpack", is_flag=True, help="TFLite without its default delegate.")
@click.option(
    "--quantized-engine",
    metavar="NAME",
    help="PyTorch's engine for int8, such as qnnpack; else as the file or the platform asks.",
)
@click.option(
    "--graph-opt",
    type=click.Choice(["disabled", "basic", "extended", "all"]),
    help="ONNX graph optimization level; default all.",
)
@click.option(
    "--dim",
    "dims",
    multiple=True,
    type=_parse.Dimension(),
    help="Size of a symbolic dimension, everywhere it occurs.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    type=_parse.ShapeOption(),
    help="Shape of one input (and its dtype, for .ptl).",
)
@click.option(
    "--inputs",
    "inputs_file",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Input values, one array per input.",
)
@click.option(
    "--input-range",
    "ranges",
    multiple=True,
    type=_parse.RangeOption(),
    help="Range of made values; floats default to 0:1, integers to 0:1.",
)
@click.option(
    "--outputs",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Write the outputs of one inference.",
)
@click.option("--launches", type=click.IntRange(1, 1000), help="Fresh processes; default 3.")
@click.option(
    "--warmup",
    type=_parse.Seconds(0),
    metavar="S",
    help="Seconds of warm-up per launch; default 1.",
)
@click.option(
    "--duration",
    type=_parse.Seconds(0),
    metavar="S",
    help="Seconds timed per launch; default 2.",
)
@click.option("--quick", is_flag=True, help="1 launch, 0.3 s of warm-up, 1 s timed.")
@click.option(
    "--timeout",
    type=_parse.Seconds(0.1),
    metavar="S",
    help="For one model on one device; default 600.",
)
@click.option(
    "--no-rerun", is_flag=True, help="Fail, rather than measure again, when the device restarts."
)
@click.option("--wait", is_flag=True, help="For a device that somebody else has reserved.")
@click.option("--profile", is_flag=True, help="Add a pass that tells the time per operator.")
@click.option("--energy", is_flag=True, help="Ask for energy per inference.")
@click.option("--label", "labels", multiple=True, type=_parse.KeyValue(), help="Kept with the run.")
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

    # A CI job that is stopped stops its devices, too.
    signal.signal(signal.SIGTERM, _interrupt)
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
    from edgeopt_host.plan import Execution, Inputs, Plan, Provider

    plan = Plan().quick() if options["quick"] else Plan()
    given = {
        "launches": options["launches"],
        "warmup_s": options["warmup"],
        "duration_s": options["duration"],
        "timeout_s": options["timeout"],
        "rerun": False if options["no_rerun"] else None,
    }
    providers = [Provider(name, "onnx") for name in options["providers"]]
    return {
        "devices": options["devices"],
        "tags": options["tags"],
        "plan": dataclasses.replace(plan, **{k: v for k, v in given.items() if v is not None}),
        "execution": Execution(
            runtime=options["runtime"],
            threads=options["threads"],
            providers=[*providers, *options["delegates"]],
            xnnpack=not options["no_xnnpack"],
            graph_optimization=options["graph_opt"],
            quantized_engine=options["quantized_engine"],
        ),
        "inputs": Inputs(
            file=options["inputs_file"],
            dimensions=dict(options["dims"]),
            shapes=options["shapes"],
            ranges=options["ranges"],
        ),
        "profile": options["profile"],
        "energy": options["energy"],
        "outputs": options["outputs"],
        "labels": dict(options["labels"]),
        "wait": options["wait"],
    }


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
