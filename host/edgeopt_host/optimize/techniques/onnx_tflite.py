"""ONNX to TFLite, by onnx2tf in an environment of its own, verified on examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.agreement import verified
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs

# It pins what it needs by exact versions, which fit nothing else.
REQUIREMENTS = ("onnx2tf==2.6.9",)
_PYTHON = (3, 12)
_SIZE = "700 MB"
_LINES = 40


@technique(
    "convert:tflite",
    takes={Format.ONNX},
    gives=Format.TFLITE,
    libraries={"onnx", "onnxslim"},
    verifies=True,
)
def tflite(
    source: Model,
    target: Path,
    *,
    tolerance: float = 1e-3,
    validation: Examples,
    progress: Progress,
) -> Notes:
    """A float TFLite model, whose inputs keep their layout.

    Made in an environment of its own, which is installed at the first use (700 MB, some minutes) and
    needs Python 3.12 or later beside edgeopt's. Costs no accuracy; what comes out otherwise than the
    source's outputs is refused.

    Args:
        tolerance: the largest difference of outputs from the source's, relative to their size.
    """
    from edgeopt_host.optimize import venvs

    found = venvs.find_python(minimum=_PYTHON)
    python = venvs.ensure("onnx2tf", REQUIREMENTS, found, size=_SIZE, progress=progress)
    model = graphs.prepare(source)
    names = [one.name for one in model.graph.input]
    with graphs.workspace(target) as folder:
        graphs.save(model, folder / "model.onnx")
        progress(0.3, "converting with onnx2tf")
        # Without it, inputs that look like channels first come out as channels last.
        kept = ["--keep_shape_absolutely_input_names", *names]
        finished = subprocess.run(
            [str(python), "-m", "onnx2tf", "-i", "model.onnx", "-o", "made", *kept],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        # To the step's log.
        sys.stderr.write(finished.stdout + finished.stderr)
        made = folder / "made" / "model_float32.tflite"
        if finished.returncode or not made.exists():
            raise _failed(source, finished)
        made.replace(target)
    agreed = verified(source, Model.of(target, Format.TFLITE), validation, tolerance)
    return {"agreement": agreed, "requirements": list(REQUIREMENTS), "warnings": []}


def _failed(source: Model, finished: subprocess.CompletedProcess[str]) -> EdgeoptError:
    if finished.returncode < 0:
        return EdgeoptError(
            f"onnx2tf crashed on {source.name} (signal {-finished.returncode})", "CONVERTER_CRASHED"
        )
    lines = (finished.stdout + finished.stderr).splitlines()[-_LINES:]
    told = (
        [line.strip() for line in lines if "error" in line.lower()] or lines or ["it said nothing"]
    )
    return EdgeoptError(
        f"onnx2tf cannot convert {source.name}: {told[-1][:300]}", "CONVERSION_FAILED"
    )
