"""What `push`, `compare` and `gate` have in common: where, how, how long and under what load."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgeopt_host.cli import _parse

if TYPE_CHECKING:
    from edgeopt_host.plan import EnergyPlan, Plan, StartCondition

_Command = TypeVar("_Command", bound=Callable[..., Any])

# By the argument that a command gets.
_OPTIONS = {
    "devices": click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="NAME",
        help="A device of the inventory, or local.",
    ),
    "tags": click.option(
        "--tag", "tags", multiple=True, metavar="TAG", help="All devices with this tag."
    ),
    "runtime": click.option(
        "--runtime",
        metavar="NAME",
        help="tflite, onnx, ptl or a plug-in's; else by the file's content.",
    ),
    "threads": click.option(
        "--threads", type=click.IntRange(1, 1024), help="Default: one per performance core."
    ),
    "providers": click.option(
        "--provider",
        "providers",
        multiple=True,
        metavar="NAME",
        help="ONNX execution provider; repeat for an order of preference.",
    ),
    "delegates": click.option(
        "--delegate",
        "delegates",
        multiple=True,
        type=_parse.DelegateOption(),
        help="TFLite delegate: its library on the device, with options.",
    ),
    "no_xnnpack": click.option(
        "--no-xnnpack", is_flag=True, help="TFLite without its default delegate."
    ),
    "quantized_engine": click.option(
        "--quantized-engine",
        metavar="NAME",
        help="PyTorch's engine for int8, such as qnnpack; else as the file or the platform asks.",
    ),
    "graph_opt": click.option(
        "--graph-opt",
        type=click.Choice(["disabled", "basic", "extended", "all"]),
        help="ONNX graph optimization level; default all.",
    ),
    "dims": click.option(
        "--dim",
        "dims",
        multiple=True,
        type=_parse.Dimension(),
        help="Size of a symbolic dimension, everywhere it occurs.",
    ),
    "shapes": click.option(
        "--shape",
        "shapes",
        multiple=True,
        type=_parse.ShapeOption(),
        help="Shape of one input (and its dtype, for .ptl).",
    ),
    "inputs_file": click.option(
        "--inputs",
        "inputs_file",
        type=click.Path(path_type=Path),
        metavar="FILE.npz",
        help="Input values, one array per input.",
    ),
    "ranges": click.option(
        "--input-range",
        "ranges",
        multiple=True,
        type=_parse.RangeOption(),
        help="Range of made values; floats default to 0:1, integers to 0:1.",
    ),
    "launches": click.option(
        "--launches", type=click.IntRange(1, 1000), help="Fresh processes; default 3."
    ),
    "warmup": click.option(
        "--warmup",
        type=_parse.Seconds(0),
        metavar="S",
        help="Seconds of warm-up per launch; default 1.",
    ),
    "duration": click.option(
        "--duration",
        type=_parse.Seconds(0),
        metavar="S",
        help="Seconds timed per launch; default 2.",
    ),
    "quick": click.option("--quick", is_flag=True, help="1 launch, 0.3 s of warm-up, 1 s timed."),
    "timeout": click.option(
        "--timeout",
        type=_parse.Seconds(0.1),
        metavar="S",
        help="For one model on one device; default 600, or three times what the plan takes.",
    ),
    "no_rerun": click.option(
        "--no-rerun",
        is_flag=True,
        help="Fail, rather than measure again, when the device restarts.",
    ),
    "wait": click.option(
        "--wait", is_flag=True, help="For a device that somebody else has reserved."
    ),
    "batch": click.option(
        "--batch",
        type=click.IntRange(1, 65536),
        metavar="N",
        help="Size of every input's leading dimension; default 1.",
    ),
    "streams": click.option(
        "--streams",
        type=click.IntRange(1, 64),
        metavar="N",
        help="Sessions of the model that work at once; default 1.",
    ),
    "rate": click.option(
        "--rate",
        type=_parse.Hertz(),
        metavar="HZ",
        help="Inferences due per second and stream; default back to back.",
    ),
    "cooldown_below": click.option(
        "--cooldown-below",
        type=_parse.Celsius(),
        help="Each launch waits, at most 300 s, until no temperature is above this.",
    ),
    "steady_clock": click.option(
        "--steady-clock",
        is_flag=True,
        help="Each launch waits, at most 300 s, until clocks have stopped changing.",
    ),
    "energy": click.option(
        "--energy", is_flag=True, help="Add a pass that measures energy per inference."
    ),
    "energy_window": click.option(
        "--energy-window",
        type=_parse.Seconds(1),
        metavar="S",
        help="Seconds of work, and of idling around it; default 30.",
    ),
    "energy_windows": click.option(
        "--energy-windows",
        type=click.IntRange(2, 100),
        metavar="N",
        help="How often it works; default 5.",
    ),
    "data": click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="FILE.npz",
        help="Labelled examples (x_test, y_test): tells the accuracy on the device.",
    ),
    "labels": click.option(
        "--label", "labels", multiple=True, type=_parse.KeyValue(), help="Kept with the run."
    ),
}

# Of these, what says how to measure, rather than where.
MEASURING = _OPTIONS.keys() - {"devices", "tags"}


def measure_options(*, without: Collection[str] = ()) -> Callable[[_Command], _Command]:
    """The options whose values `arguments` takes, `without` those for these arguments."""
    options = [option for name, option in _OPTIONS.items() if name not in without]

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def end_on_sigterm() -> None:
    """SIGTERM ends this command as Ctrl-C does: a CI job that is stopped stops its devices, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as `Bench.push` and `Bench.compare` take them.

    A command that leaves some of them out, or adds `sustained`, may do so.
    """
    from edgeopt_host.plan import Execution, Inputs, Provider

    given = options.get
    providers = [Provider(name, "onnx") for name in options["providers"]]
    return {
        "devices": options["devices"],
        "tags": options["tags"],
        "plan": _plan(options),
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
        "energy": bool(given("energy") or given("energy_window") or given("energy_windows")),
        "data": given("data"),
        "labels": dict(options["labels"]),
        "wait": options["wait"],
    }


def _plan(options: Mapping[str, Any]) -> Plan:
    from edgeopt_host.plan import Plan

    given = options.get
    plan = Plan().quick() if given("quick") else Plan()
    if sustained := given("sustained"):
        named = ("launches", "duration", "quick")
        if clash := [f"--{name}" for name in named if given(name)]:
            raise click.UsageError(
                f"--sustained is one launch of its own length: leave {', '.join(clash)} out"
            )
        plan = plan.sustained(sustained)
    if rate := given("rate"):
        plan = plan.paced(rate)
    changes: dict[str, Any] = {
        "launches": given("launches"),
        "warmup_s": given("warmup"),
        "duration_s": given("duration"),
        "timeout_s": given("timeout"),
        "rerun": False if given("no_rerun") else None,
        "batch": given("batch"),
        "streams": given("streams"),
        "start": _start(options),
        "energy": _energy(options),
    }
    return dataclasses.replace(plan, **{k: v for k, v in changes.items() if v is not None})


def _start(options: Mapping[str, Any]) -> StartCondition | None:
    from edgeopt_host.plan import StartCondition

    below, steady = options.get("cooldown_below"), options.get("steady_clock")
    return StartCondition(below, steady_clock=bool(steady)) if below or steady else None


def _energy(options: Mapping[str, Any]) -> EnergyPlan | None:
    from edgeopt_host.plan import EnergyPlan

    window, windows = options.get("energy_window"), options.get("energy_windows")
    if not (options.get("energy") or window or windows):
        return None
    plan = EnergyPlan(windows=windows or EnergyPlan.windows)
    return dataclasses.replace(plan, idle_s=window, work_s=window) if window else plan
