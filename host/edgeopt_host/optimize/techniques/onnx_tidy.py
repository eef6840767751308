"""Simplification of graphs by onnxslim."""

from __future__ import annotations

from pathlib import Path

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.agreement import verified
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs


@technique(
    "simplify:graph",
    takes={Format.ONNX},
    gives=Format.ONNX,
    libraries={"onnx", "onnxslim"},
    verifies=True,
)
def simplify(
    source: Model, target: Path, *, tolerance: float = 1e-4, validation: Examples
) -> Notes:
    """The same computation with fewer operators.

    Folds what is constant, fuses what belongs together and drops what nothing needs. Costs no accuracy;
    exporters leave much to do, so it is worth a try. Quantization of ONNX models does it by itself.

    Args:
        tolerance: the largest difference of outputs from the source's, relative to their size.
    """
    before = graphs.load(source)
    after = graphs.slimmed(before)
    if after is None:
        raise EdgeoptError(
            f"onnxslim cannot simplify this model, which consists of {graphs.census(before)}",
            "CONVERSION_FAILED",
        )
    graphs.save(after, target)
    agreed = verified(source, graphs.model_of(target), validation, tolerance)
    counts = {"before": len(before.graph.node), "after": len(after.graph.node)}
    return {"operators": counts, "agreement": agreed, "warnings": []}
