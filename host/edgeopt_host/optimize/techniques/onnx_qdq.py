"""Static quantization by ONNX Runtime: calibrated once, then any of a model's nodes quantized."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats.predict import bind, check, stored
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.technique import Progress
from edgeopt_host.optimize.techniques import onnx_graph as graphs
from edgeopt_host.optimize.tensors import Array

# Examples at a time, where the model takes any number.
_BATCH = 8
# Batches whose activations are in memory at a time.
_CHUNK = 4


@dataclass(frozen=True)
class Settings:
    """How numbers are mapped to 8 bits; each is a parameter of quantize:int8."""

    calibration: str = "minmax"
    percentile: float = 99.99
    per_channel: bool = True
    reduce_range: bool = True
    activations: str = "uint8"
    symmetric: bool = False


class Calibrated:
    """A float model with the ranges of its tensors."""

    def __init__(
        self,
        model: Any,
        runner: Runner,
        examples: Examples,
        settings: Settings,
        operators: Collection[str],
        folder: Path,
        progress: Progress | None = None,
    ) -> None:
        """Runs the model on all examples.

        Args:
            model: as `onnx_graph.prepare` gives it.
            runner: of the model it was made of, for what its inputs are.
            examples: representative ones.
            settings: see there.
            operators: types of which any will be quantized.
            folder: for files on the way; it must outlive this.
            progress: called as examples are done.

        Raises:
            EdgeoptError: DATA_INVALID when the examples do not fit, CONVERSION_FAILED when ONNX Runtime
                cannot calibrate it.
        """
        if graphs.opset(model) < graphs.LEAST_OPSET:
            raise EdgeoptError(
                f"the model is of opset {graphs.opset(model)} and cannot be brought to opset "
                f"{graphs.LEAST_OPSET}, which static quantization needs: export it with that or later",
                "MODEL_UNSUPPORTED",
            )
        feeds = list(_feeds(runner, examples))
        self._settings = settings
        self._path = folder / "float.onnx"
        self._folder = folder
        self._operators = sorted(operators)
        with graphs.library("ONNX Runtime"):
            self.model = _inferred(model, self._path, folder)
            self._ranges = self._calibrate(feeds, progress)

    def quantized(self, nodes: Collection[str], *, per_channel: bool | None = None) -> Any:
        """A copy with QuantizeLinear and DequantizeLinear around some nodes.

        Args:
            nodes: their names.
            per_channel: None for as in the settings.
        """
        import copy

        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        settings = self._settings
        with graphs.library("ONNX Runtime"):
            quantizer = QDQQuantizer(
                copy.deepcopy(self.model),
                settings.per_channel if per_channel is None else per_channel,
                settings.reduce_range,
                QuantType.QInt8,
                QuantType.QInt8 if settings.activations == "int8" else QuantType.QUInt8,
                self._ranges,
                sorted(nodes),
                [],
                self._operators,
                {"ActivationSymmetric": settings.symmetric, "WeightSymmetric": True},
            )
            quantizer.quantize_model()
            return quantizer.model.model

    def _calibrate(self, feeds: list[dict[str, Array]], progress: Progress | None) -> Any:
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator

        settings = self._settings
        method = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }[settings.calibration]
        options = {"symmetric": settings.symmetric}
        if settings.calibration == "percentile":
            options["percentile"] = settings.percentile  # type: ignore[assignment]
        calibrator = create_calibrator(
            self._path,
            self._operators,
            augmented_model_path=str(self._folder / "augmented.onnx"),
            calibrate_method=method,
            extra_options=options,
        )
        for first in range(0, len(feeds), _CHUNK):
            calibrator.collect_data(_reader(feeds[first : first + _CHUNK]))
            if progress is not None:
                progress(min(1.0, (first + _CHUNK) / len(feeds)), "calibrating")
        return calibrator.compute_data()


def operators() -> list[str]:
    """All types that ONNX Runtime quantizes statically."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def one_feed(runner: Runner, examples: Examples) -> dict[str, Array]:
    """The first example as a model's inputs, of the batch size it insists on."""
    return next(_feeds(runner, examples.take(slice(1)), 1))


def _feeds(runner: Runner, examples: Examples, batch: int = _BATCH) -> Iterator[dict[str, Array]]:
    inputs = runner.signature.inputs
    names = bind(inputs, examples)
    check(inputs, names, examples)
    free = all(one.shape and one.shape[0] is None for one in inputs)
    sizes = {one.shape[0] for one in inputs if one.shape and one.shape[0]}
    size = batch if free else max(sizes, default=1)
    for first in range(0, len(examples), size):
        # A fixed batch is filled up with the last example.
        last = len(examples) if free else first + size
        indices = np.minimum(np.arange(first, min(first + size, last)), len(examples) - 1)
        part = {spec.name: examples.inputs[names[spec.name]][indices] for spec in inputs}
        if any(part[spec.name].ndim > len(spec.shape) for spec in inputs):
            part = {name: array[0] for name, array in part.items()}
        yield {spec.name: stored(spec, part[spec.name]) for spec in inputs}


def _reader(feeds: list[dict[str, Array]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> Any:
            return next(self._left, None)

    return Reader()


def _inferred(model: Any, path: Path, folder: Path) -> Any:
    """The model with the shapes of its tensors; written at `path`."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    raw = folder / "raw.onnx"
    onnx.save(model, str(raw))
    for skip in (False, True):
        try:
            quant_pre_process(
                raw, path, skip_optimization=True, skip_symbolic_shape=skip, auto_merge=True
            )
            break
        except Exception:  # symbolic inference does not know every operator
            if skip:
                raise
    return onnx.load(str(path))
