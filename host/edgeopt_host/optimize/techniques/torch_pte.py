"""Conversion of torch models to ExecuTorch's .pte, in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import torch_modules as modules
from edgeopt_host.optimize.tensors import Array, Arrays, Signature

# As they ran together; executorch names no version of torch, and its files are torch's own.
REQUIREMENTS = ("torch==2.13.0", "executorch==1.5.1", "torchao==0.18.0")
_SIZE = "1.5 GB"
_COMPARED = 16
# What runs in that environment, with nothing of edgeopt there.
_SCRIPT = Path(__file__).with_name("torch_pte_script.py")


@technique(
    "convert:pte",
    takes={Format.TORCH, Format.EXPORTED_PROGRAM},
    gives=Format.PTE,
    libraries={"torch"},
    verifies=True,
)
def pte(
    source: Model,
    target: Path,
    *,
    backend: Literal["xnnpack", "portable"] = "xnnpack",
    tolerance: float = 1e-4,
    validation: Examples,
    progress: Progress,
) -> Notes:
    """A float ExecuTorch program, for one example at a time.

    Made and verified in an environment of its own, which is installed at the first use (1.5 GB, several
    minutes). Costs no accuracy. edgeopt measures no .pte files: this is for applications that run
    them.

    Args:
        backend: "xnnpack" for its kernels, which are quick; "portable" for ExecuTorch's own, which run
            everywhere and are about a hundred times slower.
        tolerance: the largest difference of outputs from the source's, relative to their size.
    """
    import torch

    from edgeopt_host.optimize import agreement, venvs
    from edgeopt_host.optimize.formats import exported_program
    from edgeopt_host.optimize.formats import torch as bundles

    python = venvs.ensure("pte", REQUIREMENTS, size=_SIZE, progress=progress)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, modules.quiet():
        work = Path(folder)
        if source.format is Format.TORCH:
            known = modules.Source.of(bundles.load(source), validation)
            try:
                program = torch.export.export(known.module, known.inputs(1))
            except Exception as error:
                raise modules.failed("export the module (torch.export)", error) from error
        else:
            program = exported_program.load(source)
            known = modules.Source.of(program, validation)
        torch.export.save(program, work / "program.pt2")
        count = known.fixed or 1
        calls = max(1, _COMPARED // count)
        fed = known.inputs(count * calls)
        _store(work / "inputs.npz", [tensor.numpy() for tensor in fed], count)
        progress(0.3, f"lowering to {backend}")
        _run(python, work, backend)
        taken = Signature(tuple(modules.specs(known.names, fed, None)), ())
        ran = _Ran(taken, _outputs(work / "outputs.npz", known.outputs))
        same = Examples(
            {spec.name: tensor.numpy() for spec, tensor in zip(taken.inputs, fed, strict=True)}
        )
        found = agreement.check(source, ran, same, tolerance)
        (work / "model.pte").replace(target)
    return {
        "backend": backend,
        "batch": count,
        "requirements": list(REQUIREMENTS),
        "agreement": found.document(),
    }


@dataclass
class _Ran:
    """A runner of the one set of examples that its outputs are known of."""

    signature: Signature
    outputs: dict[str, Array]

    def __call__(self, inputs: Arrays) -> dict[str, Array]:  # noqa: ARG002 - the one set
        return self.outputs


def _store(path: Path, inputs: Sequence[Array], count: int) -> None:
    parts = {
        f"{call}.{place}": array[call * count : (call + 1) * count]
        for place, array in enumerate(inputs)
        for call in range(len(array) // count)
    }
    np.savez(path, allow_pickle=False, **parts)


def _outputs(path: Path, names: Sequence[str]) -> dict[str, Array]:
    with np.load(path) as stored:
        parts = [stored[key] for key in sorted(stored.files, key=_place)]
    return {name: np.concatenate(parts[i :: len(names)]) for i, name in enumerate(names)}


def _place(key: str) -> tuple[int, ...]:
    return tuple(int(part) for part in key.split("."))


def _run(python: Path, work: Path, backend: str) -> None:
    finished = subprocess.run(
        [str(python), "-W", "ignore", str(_SCRIPT), str(work), backend],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # To the step's log.
    sys.stderr.write(finished.stderr)
    if finished.returncode == 0:
        return
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((work / "error.json").read_text(encoding="utf-8"))
        raise modules.failed(f"{told['doing']} with ExecuTorch", RuntimeError(told["error"]))
    raise EdgeoptError(
        f"ExecuTorch crashed (exit code {finished.returncode}) and left no message",
        "CONVERTER_CRASHED",
    )
