"""How long the operators of an ONNX model take on this processor."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from edgeopt_host.optimize.tensors import Array

_RUNS = 20


def operators_us(path: Path, feed: Mapping[str, Array], folder: Path) -> float:
    """Microseconds that one inference spends in operators, with one thread.

    It is the sum of each operator's shortest time in ONNX Runtime's profile of 20 runs: on a machine
    with much else to do the latency of whole runs scatters by some 10 %, this by less than 1 %.

    Args:
        path: the model.
        feed: its inputs.
        folder: where the profile is written for a moment.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for _ in range(_RUNS):
        session.run(None, dict(feed))
    profile = Path(session.end_profiling())
    shortest: dict[str, float] = {}
    for event in json.loads(profile.read_text(encoding="utf-8")):
        name = event["name"]
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            shortest[name] = min(shortest.get(name, math.inf), event["dur"])
    profile.unlink()
    return sum(shortest.values())
