"""What steps need, told before the first of them starts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data.prepared import Prepared
from edgeopt_host.optimize.technique import Technique

# Which extra of the package brings a library.
_EXTRAS = {
    "tensorflow": "tensorflow",
    "tf-keras": "tensorflow",
    "tf2onnx": "tensorflow",
    "litert-quantizer": "tensorflow",
    "ai-edge-litert": "tflite",
    "torch": "torch",
    "onnxscript": "torch",
}


def check(steps: Mapping[str, Technique], *, has_data: bool) -> None:
    """Raises when a step cannot work: for want of data, or of a library.

    Args:
        steps: by id.
        has_data: whether any are given.

    Raises:
        UsageError: data are needed.
        EdgeoptError: LIBRARY_MISSING.
    """
    for name, technique in steps.items():
        if (needed := technique.needed_splits) and not has_data:
            raise UsageError(
                f"step {name}: {technique.name} needs {' and '.join(needed)} examples: give "
                "--data (FILE.npz, a folder of images, or module:function)"
            )
        if missing := [name for name in sorted(technique.libraries) if not _installed(name)]:
            extras = sorted({_EXTRAS.get(name, "optimize") for name in missing})
            raise EdgeoptError(
                f"step {name}: {technique.name} needs {', '.join(missing)}: "
                f"pip install 'edgeopt[{','.join(extras)}]'",
                "LIBRARY_MISSING",
            )


def check_data(steps: Mapping[str, Technique], data: Prepared) -> None:
    """Raises when a step needs examples of a split that has none, or labels that are not there.

    Raises:
        UsageError: telling what is missing.
    """
    for name, technique in steps.items():
        for split in technique.needed_splits:
            found = data.splits.get(split)
            if found is None:
                raise UsageError(
                    f"step {name}: {technique.name} needs {split} examples, and the data have none: give "
                    f"more, or a larger --{split}"
                )
            if technique.labels and found.labels is None:
                raise UsageError(
                    f"step {name}: {technique.name} needs {split} examples with labels, and these have none"
                )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
