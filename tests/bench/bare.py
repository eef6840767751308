"""The independent yardstick: a runtime's own loop, with nothing of edgeopt in it.

    python bare.py RUNTIME MODEL SHAPE… → p50 in nanoseconds

One thread, 0.5 s of warm-up, 1 s timed; the runtime's leanest call, inputs bound before.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

Shapes = Sequence[Sequence[int]]
Infer = Callable[[], object]

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def values(shape: Sequence[int], dtype: Any) -> Any:
    generator = np.random.default_rng([0, 0])
    if np.dtype(dtype).kind == "f":
        return generator.random(shape).astype(dtype)
    return generator.integers(0, 1, shape, dtype=dtype, endpoint=True)


def tflite(model: str, _: Shapes) -> Infer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], values(detail["shape"], detail["dtype"]))
    return interpreter.invoke


def onnx(model: str, shapes: Shapes) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    binding = session.io_binding()
    for declared, shape in zip(session.get_inputs(), shapes, strict=True):
        binding.bind_cpu_input(declared.name, values(shape, np.float32))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return partial(session.run_with_iobinding, binding)


def ptl(model: str, shapes: Shapes) -> Infer:
    import torch
    from torch.jit.mobile import _load_for_lite_interpreter

    torch.set_num_threads(1)
    # Entered once and first: around each call it would be a microsecond of the latency, and
    # tensors made outside of it keep books that cost three.
    guard = torch.inference_mode()
    guard.__enter__()
    module = _load_for_lite_interpreter(model)
    inputs = [torch.from_numpy(values(shape, np.float32)) for shape in shapes]
    infer = partial(module, *inputs)
    infer.guard = guard  # type: ignore[attr-defined] # leaving it would end the mode
    return infer


def main() -> None:
    runtime, model, *shapes = sys.argv[1:]
    infer = globals()[runtime](model, [[int(n) for n in shape.split(",")] for shape in shapes])
    run(infer, 0.5)
    print(int(np.median(run(infer, 1.0))))


def run(infer: Infer, seconds: float) -> list[int]:
    clock = time.perf_counter_ns
    latencies = []
    end = clock() + int(seconds * 1e9)
    while clock() < end or len(latencies) < 20:
        before = clock()
        infer()
        latencies.append(clock() - before)
    return latencies


main()
