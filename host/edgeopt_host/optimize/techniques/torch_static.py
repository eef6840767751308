"""Static int8 of torch modules, by torch.ao: what its graph mode can trace, else its eager mode."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.technique import Progress
from edgeopt_host.optimize.techniques import torch_modules as modules

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCH = 32
# Layers that torch.ao has no static int8 kernel for, whatever the engine.
_NEVER = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell", "Embedding", "EmbeddingBag")
# QNNPACK has none for these either.
_NOT_QNNPACK = ("Conv3d", "ConvTranspose3d")
_MOST_UNTRACEABLE = 20


@dataclass
class Observed:
    """A module that saw the calibration examples and can be converted, once or in several ways.

    Attributes:
        module: with observers.
        mapping: what torch.ao was told for each layer; None in eager mode.
        layers: names of the layers that become int8.
        fallback: "name (Class): why" of those with weights that stay in float.
        warnings: sentences for the user.
        engine: quantized engine.
    """

    module: Any
    mapping: Any
    layers: list[str]
    fallback: list[str]
    warnings: list[str]
    engine: str

    def convert(self, without: Sequence[str] = (), *, only: str | None = None) -> Any:
        """An int8 module; the observed one stays as it is.

        Args:
            without: layers that stay in float (graph mode).
            only: the one layer that becomes int8, everything else stays in float (graph mode).
        """
        from torch.ao.quantization import convert
        from torch.ao.quantization.quantize_fx import convert_fx

        observed = copy.deepcopy(self.module)
        try:
            if self.mapping is None:
                return convert(observed)
            mapping = copy.deepcopy(self.mapping)
            for name in without:
                mapping.set_module_name(name, None)
            if only is not None:
                for key in self._all_but(only):
                    setter = (
                        mapping.set_module_name if key in self._names else mapping.set_object_type
                    )
                    setter(key, None)
            return convert_fx(observed, qconfig_mapping=mapping)
        except Exception as error:
            raise modules.failed("convert the calibrated module to int8", error) from error

    @property
    def _names(self) -> set[str]:
        return {str(node.target) for node in self.module.graph.nodes if node.op == "call_module"}

    def _all_but(self, layer: str) -> Iterator[Any]:
        for node in self.module.graph.nodes:
            if node.op in {"call_function", "call_method"} or (
                node.op == "call_module" and node.target != layer
            ):
                yield node.target


def engine_of(wanted: str, default: str) -> str:
    """The quantized engine: `default` for "auto".

    Raises:
        EdgeoptError: LIBRARY_MISSING when this torch was built without it.
    """
    import torch

    engine = default if wanted == "auto" else wanted
    there = [one for one in torch.backends.quantized.supported_engines if one != "none"]
    if engine not in there:
        raise EdgeoptError(
            f"this torch has no quantized engine {engine}, it has {', '.join(there)}: choose one by engine=",
            "LIBRARY_MISSING",
        )
    return engine


def packing(engine: str, layers: Sequence[str], module: nn.Module) -> str:
    """The engine to convert and save with, for a file that is for another.

    Files hold weights unpacked, whatever the engine; but those of fbgemm and x86 hold them twice, as
    they are unpacked anew each time they are asked for.
    """
    import torch

    kinds = {type(module.get_submodule(name)).__name__ for name in layers}
    usable = "qnnpack" in torch.backends.quantized.supported_engines
    return "qnnpack" if usable and not kinds.intersection(_NOT_QNNPACK) else engine


def observe(
    module: nn.Module,
    calibration: Examples,
    *,
    engine: str,
    operators: Sequence[str] = (),
    layers: Sequence[str] = (),
    keep_float: Sequence[str] = (),
    per_channel: bool = True,
    progress: Progress | None = None,
) -> Observed:
    """Puts observers into a copy of a module and shows them the calibration examples.

    Raises:
        EdgeoptError: UNSUPPORTED_OPERATOR naming the layer that cannot be traced, or when nothing is left
            to quantize; DATA_INVALID when the module fails on the examples.
    """
    names = modules.input_names(module, calibration)
    example = modules.feed(names, calibration.take(slice(2)))
    modules.first_outputs(module, example)
    unable = {*_NEVER, *(_NOT_QNNPACK if engine == "qnnpack" else ())}
    weighted = modules.weighted(module)
    able = {name: one for name, one in weighted.items() if type(one).__name__ not in unable}
    asked = {
        name: one for name, one in able.items() if not operators or type(one).__name__ in operators
    }
    picked = modules.chosen(asked, layers, keep_float)
    opaque: list[str] = []
    if _is_eager(module):
        observed, mapping = (
            _prepare_eager(module, [one for one in able if one not in picked], engine, per_channel),
            None,
        )
    else:
        opaque = _untraceable(module)
        hidden = [
            one for one in picked if any(one == out or one.startswith(f"{out}.") for out in opaque)
        ]
        picked = [one for one in picked if one not in hidden]
        if not picked:
            raise EdgeoptError(
                f"every layer that could be quantized stands in {modules.shown(opaque)}, which torch.fx "
                "cannot trace: move its control flow out of forward, or use quantize:dynamic",
                "UNSUPPORTED_OPERATOR",
            )
        out = [name for name in able if name not in picked]
        mapping = _mapping(engine, per_channel, out)
        observed = _prepare_fx(module, mapping, example, opaque)
    _show(observed, names, calibration, progress)
    fallback = [
        f"{name} ({type(one).__name__}): {_reason(name, one, opaque, unable, engine)}"
        for name, one in weighted.items()
        if name not in picked
    ]
    return Observed(observed, mapping, picked, fallback, _doubts(calibration), engine)


def _reason(name: str, layer: nn.Module, opaque: list[str], unable: set[str], engine: str) -> str:
    if type(layer).__name__ in unable:
        return f"torch has no static int8 of it for {engine}"
    if any(name == out or name.startswith(f"{out}.") for out in opaque):
        return "torch.fx cannot trace what is around it"
    return "kept in float"


def _doubts(calibration: Examples) -> list[str]:
    least = 50
    if len(calibration) >= least:
        return []
    told = (
        f"calibrated on {len(calibration)} examples only: ranges of activations from fewer than {least} "
        "are rarely those of the data"
    )
    return [told]


def _mapping(engine: str, per_channel: bool, keep: Sequence[str]) -> Any:
    from torch import nn
    from torch.ao.quantization import (
        QConfig,
        default_per_channel_weight_observer,
        default_weight_observer,
        get_default_qconfig_mapping,
    )

    mapping = get_default_qconfig_mapping(engine)
    default: Any = mapping.global_qconfig
    activation = default.activation
    weight = default_per_channel_weight_observer if per_channel else default_weight_observer
    mapping.set_global(QConfig(activation=activation, weight=weight))
    # Per channel it would be along the wrong axis (pytorch/pytorch issue 47535).
    transposed = QConfig(activation=activation, weight=default_weight_observer)
    functional = nn.functional
    for kind in (
        *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
    ):
        mapping.set_object_type(kind, transposed)
    for name in keep:
        mapping.set_module_name(name, None)
    return mapping


def _prepare_fx(
    module: nn.Module, mapping: Any, example: tuple[torch.Tensor, ...], opaque: Sequence[str]
) -> Any:
    from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
    from torch.ao.quantization.quantize_fx import prepare_fx

    custom = PrepareCustomConfig().set_non_traceable_module_names(list(opaque))
    try:
        return prepare_fx(copy.deepcopy(module), mapping, example, prepare_custom_config=custom)
    except Exception as error:
        raise modules.failed("prepare the module for static int8", error) from error


def _untraceable(module: nn.Module) -> list[str]:
    """Modules that torch.fx has to leave as they are: the innermost around what it cannot trace.

    Raises:
        EdgeoptError: UNSUPPORTED_OPERATOR when that is the module itself.
    """
    from torch.ao.quantization.fx.tracer import QuantizationTracer

    opaque: list[str] = []
    while True:
        tracer = QuantizationTracer(opaque, [])
        try:
            tracer.trace(copy.deepcopy(module))
        except Exception as error:
            within = [name for name, _ in tracer.module_stack.values()]
            if not within or within[-1] in opaque or len(opaque) == _MOST_UNTRACEABLE:
                raise EdgeoptError(
                    f"torch.fx cannot trace forward of {type(module).__name__} ({modules.why(error)}): "
                    "put what depends on values into a layer of its own, which then stays in float, or "
                    "write the module for eager mode (QuantStub, DeQuantStub, fuse_model), or use "
                    "quantize:dynamic",
                    "UNSUPPORTED_OPERATOR",
                ) from error
            opaque.append(within[-1])
        else:
            return opaque


def _is_eager(module: nn.Module) -> bool:
    from torch.ao.quantization import QuantStub

    return hasattr(module, "fuse_model") or any(
        isinstance(one, QuantStub) for one in module.modules()
    )


def _prepare_eager(module: nn.Module, keep: Sequence[str], engine: str, per_channel: bool) -> Any:
    from torch.ao.quantization import prepare

    observed: Any = copy.deepcopy(module)
    try:
        if hasattr(observed, "fuse_model"):
            observed.fuse_model()
        mapping = _mapping(engine, per_channel, ())
        observed.qconfig = mapping.global_qconfig
        transposed = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
        for name, layer in observed.named_modules():
            if type(layer).__name__ in transposed:
                layer.qconfig = mapping.object_type_qconfigs[type(layer)]
            if name in keep:
                layer.qconfig = None
        return prepare(observed)
    except Exception as error:
        raise modules.failed("prepare the module for static int8 in eager mode", error) from error


def _show(
    module: Any, names: Sequence[str], calibration: Examples, progress: Progress | None
) -> None:
    done = 0
    for batch in calibration.batches(_BATCH):
        modules.first_outputs(module, modules.feed(names, batch))
        done += len(batch)
        if progress is not None:
            progress(done / len(calibration), f"calibrating: {done} of {len(calibration)} examples")
