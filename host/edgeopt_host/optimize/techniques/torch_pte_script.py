"""Lowers FOLDER/program.pt2 to FOLDER/model.pte and runs it on FOLDER/inputs.npz.

    python torch_pte_script.py FOLDER xnnpack|portable

For `torch_pte`, in an environment with executorch, where edgeopt is not. What fails is told in
FOLDER/error.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def lower(folder: Path, backend: str) -> None:
    """Writes model.pte."""
    import torch
    from executorch.exir import to_edge_transform_and_lower  # type: ignore[import-not-found]

    partitioners: list[Any] = []
    if backend == "xnnpack":
        from executorch.backends.xnnpack.partition import (  # type: ignore[import-not-found]
            xnnpack_partitioner,
        )

        partitioners = [xnnpack_partitioner.XnnpackPartitioner()]
    program = torch.export.load(folder / "program.pt2")
    lowered = to_edge_transform_and_lower(program, partitioner=partitioners)
    (folder / "model.pte").write_bytes(lowered.to_executorch().buffer)


def run(folder: Path) -> None:
    """Writes outputs.npz: "CALL.OUTPUT" for the "CALL.INPUT" of inputs.npz."""
    import numpy as np
    import torch
    from executorch.runtime import Runtime  # type: ignore[import-not-found]

    method = Runtime.get().load_program(folder / "model.pte").load_method("forward")
    calls: dict[int, dict[int, Any]] = {}
    with np.load(folder / "inputs.npz") as stored:
        for key in stored.files:
            call, place = map(int, key.split("."))
            calls.setdefault(call, {})[place] = torch.from_numpy(stored[key])
    outputs: dict[str, Any] = {
        # Its memory is the runtime's, which uses it again.
        f"{call}.{place}": np.array(value.numpy())
        for call, inputs in sorted(calls.items())
        for place, value in enumerate(method.execute([inputs[i] for i in sorted(inputs)]))
    }
    np.savez(folder / "outputs.npz", allow_pickle=False, **outputs)


def main() -> None:
    folder, backend = Path(sys.argv[1]), sys.argv[2]
    doing = "lower the program"
    try:
        lower(folder, backend)
        doing = "run the lowered program"
        run(folder)
    except Exception as error:
        told = {"doing": doing, "error": f"{type(error).__name__}: {error}"}
        (folder / "error.json").write_text(json.dumps(told), encoding="utf-8")
        raise


if __name__ == "__main__":
    main()
