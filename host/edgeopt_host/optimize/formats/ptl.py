"""Files of torch's lite interpreter, with the signature that edgeopt stores inside.

See docs/reference/ptl-signature.md.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, ModelFileError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _torch
from edgeopt_host.optimize.formats.description import Description
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.tensors import TensorSpec

_SCHEMA = "edgeopt.signature/1"
_FILE = "edgeopt.json"


@dataclass(frozen=True)
class StoredSignature:
    """What a file says of itself.

    Attributes:
        inputs: in the order of forward.
        outputs: their names.
        engine: the quantized engine its weights were made for; None for the platform's.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    engine: str | None


def save(
    module: Any,
    target: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    engine: str | None,
) -> None:
    """Saves a scripted module for the lite interpreter.

    Args:
        module: torch.jit.ScriptModule, frozen.
        target: the file.
        inputs: in the order of forward; None in a shape is stored as null, or "batch" where it is the
            first axis.
        outputs: names, in order.
        engine: quantized engine; None for a float model.
    """
    document = {
        "schema": _SCHEMA,
        "inputs": [{**one.document(), "shape": _symbols(one.shape)} for one in inputs],
        "outputs": list(outputs),
        "quantized_engine": engine,
    }
    with _torch.quiet():
        # By a file's path, the archive would hold its name, and have another digest under another.
        content = module._save_to_buffer_for_lite_interpreter(  # noqa: SLF001 - it has no other name
            _extra_files={_FILE: json.dumps(document)}
        )
    target.write_bytes(_without_sources(content))


def _without_sources(content: bytes) -> bytes:
    """A file's content without where its code stood on this machine, which only error messages tell."""
    from io import BytesIO

    from torch._C import PyTorchFileReader, PyTorchFileWriter

    reader, written = PyTorchFileReader(BytesIO(content)), BytesIO()
    writer = PyTorchFileWriter(written)
    for name in reader.get_all_records():
        # The writer makes an id of its own, of what it writes.
        if not name.endswith((".debug_pkl", "serialization_id")):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return written.getvalue()


def read_signature(path: Path) -> StoredSignature | None:
    """The signature in a .ptl or TorchScript file; None when there is none.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # The archive's own folder has any name.
            files = {name.partition("/")[2]: name for name in archive.namelist()}
            if f"extra/{_FILE}" not in files:
                return None
            stored = json.loads(archive.read(files[f"extra/{_FILE}"]))
        if stored["schema"] != _SCHEMA:
            raise ModelFileError(
                f"{path} has the signature {stored['schema']}; this edgeopt knows {_SCHEMA}"
            )
        inputs = [
            TensorSpec(
                one["name"],
                tuple(size if isinstance(size, int) else None for size in one["shape"]),
                one["dtype"],
            )
            for one in stored["inputs"]
        ]
        return StoredSignature(tuple(inputs), tuple(stored["outputs"]), stored["quantized_engine"])
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelFileError(
            f"the signature in {path} cannot be read: {_code.brief(error)}"
        ) from error


def use_engine(signature: StoredSignature | None) -> None:
    """Has torch compute with the quantized engine that a file asks for; before it is loaded.

    Raises:
        EdgeoptError: MODEL_UNSUPPORTED when this torch does not have it.
    """
    import torch

    if signature is None or signature.engine is None:
        return
    engines = torch.backends.quantized.supported_engines
    if signature.engine not in engines:
        raise EdgeoptError(
            f"the model needs the quantized engine {signature.engine}; torch has "
            f"{', '.join(one for one in engines if one != 'none')} here",
            "MODEL_UNSUPPORTED",
        )
    torch.backends.quantized.engine = signature.engine


def load(model: Model) -> Any:
    """The lite interpreter's module.

    Raises:
        EdgeoptError: MODEL_INVALID, UNSUPPORTED_OPERATOR.
    """
    from torch.jit.mobile import _load_for_lite_interpreter

    use_engine(read_signature(model.path))
    with _torch.quiet():
        try:
            return _load_for_lite_interpreter(str(model.path), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            why = _code.brief(error)
            if "cannot be found" in str(error) or "Unknown builtin op" in str(error):
                raise EdgeoptError(
                    f"torch cannot run {model.name}: {why}", "UNSUPPORTED_OPERATOR"
                ) from error
            raise ModelFileError(f"torch cannot load {model.name}: {why}") from error


def runner(model: Model, threads: int) -> _torch.Running:
    """Of files with a signature; without one, of those with one input."""
    signature = read_signature(model.path)
    inputs = signature.inputs if signature else (TensorSpec("input", (), ""),)
    outputs = signature.outputs if signature else ()
    return _torch.Running(load(model), model.name, threads, inputs, outputs)


def describe(model: Model, example: Examples | None) -> Description:
    import torch

    running = runner(model, 1)
    with _torch.quiet():
        try:
            # Besides its byte code, the file has the whole program, which tells its weights.
            program = torch.jit.load(str(model.path), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"torch cannot read {model.name}: {_code.brief(error)}") from error
    return _torch.describe(program, running, example)


def _symbols(shape: Sequence[int | None]) -> list[int | str | None]:
    return ["batch" if i == 0 and size is None else size for i, size in enumerate(shape)]
