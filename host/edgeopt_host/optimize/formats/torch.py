"""PyTorch modules, kept in a folder with the code that builds them.

module.json   {"schema": "edgeopt.torch/1", "factory": "net:build" | null, "pickled": false}
code/         the Python file and those beside it that it imports
weights.pt    a state dict; or, `pickled`, the module itself as torch.save wrote it
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt_host.errors import EdgeoptError, ModelFileError, UsageError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _torch
from edgeopt_host.optimize.formats.description import Description
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Format, Model

if TYPE_CHECKING:
    from torch import nn

MANIFEST = "module.json"
_SCHEMA = "edgeopt.torch/1"
_WEIGHTS = "weights.pt"
# Where checkpoints keep the state dict, besides what else they hold.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "weights", "params", "ema")
# What wrappers of modules put before the names of all weights.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_FEW = 3


def bundle(file: Path, factory: str, weights: Path | None, into: Path) -> Model:
    """Makes the folder of a module that a Python function builds; nothing of it is executed.

    Raises:
        UsageError: when a file cannot be read.
    """
    if weights is not None and not weights.is_file():
        raise UsageError(f"cannot read the weights {weights}: there is no such file")
    target = _code.fresh(into / f"{file.stem}{Format.TORCH.suffix}", MANIFEST)
    name = _code.copy(file, target)
    if weights is not None:
        shutil.copyfile(weights, target / _WEIGHTS)
    _write(target, f"{name}:{factory}", pickled=False)
    return Model.of(target, Format.TORCH)


def check(path: Path) -> None:
    """Raises MODEL_INVALID for a folder that is not what `bundle` and `save` make."""
    found = _code.manifest(path / MANIFEST, _SCHEMA)
    if found.get("pickled") and not (path / _WEIGHTS).is_file():
        raise ModelFileError(f"{path} lacks its {_WEIGHTS}")


def load(model: Model) -> nn.Module:
    """The module, in eval mode, on the CPU.

    Raises:
        EdgeoptError: MODEL_INVALID when its code fails, or its weights do not fit it.
    """
    return _load(model)[0]


def save(module: nn.Module, target: Path, like: Model) -> None:
    """Writes a module whole, with the code of `like`, which its classes come from.

    Args:
        module: as made of `like`, such as pruned or trained; saved as it is.
        target: the folder to make; there is none when it fails.
        like: the model it was made of.

    Raises:
        EdgeoptError: MODEL_UNSUPPORTED when it cannot be pickled.
    """
    import torch

    target = _code.fresh(target, MANIFEST)
    try:
        if (like.path / _code.FOLDER).is_dir():
            shutil.copytree(like.path / _code.FOLDER, target / _code.FOLDER)
        torch.save(module, target / _WEIGHTS)
        factory = _code.manifest(like.path / MANIFEST, _SCHEMA)["factory"]
        _write(target, factory, pickled=True)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, (AttributeError, TypeError)) or "pickle" in str(error).lower():
            raise EdgeoptError(
                f"the module cannot be saved whole: {_code.brief(error)}; keep lambdas and local classes "
                "out of it",
                "MODEL_UNSUPPORTED",
            ) from error
        raise


def runner(model: Model, threads: int) -> Runner:
    """Of a module, whose inputs are called as the parameters of its forward."""
    return _torch.Running(load(model), model.name, threads)


def describe(model: Model, example: Examples | None) -> Description:
    module, remarks = _load(model)
    return _torch.describe(module, _torch.Running(module, model.name, 1), example, remarks)


def _write(target: Path, factory: str | None, *, pickled: bool) -> None:
    document = {"schema": _SCHEMA, "factory": factory, "pickled": pickled}
    (target / MANIFEST).write_text(json.dumps(document) + "\n", encoding="utf-8")


def _load(model: Model) -> tuple[nn.Module, tuple[str, ...]]:
    found = _code.manifest(model.path / MANIFEST, _SCHEMA)
    weights = model.path / _WEIGHTS
    if found["pickled"]:
        return _unpickled(model, weights), ()
    module = _built(model, found["factory"])
    remarks: tuple[str, ...] = ()
    if weights.exists():
        state, remarks = _state(weights, module.state_dict())
        _fill(module, state, found["factory"])
    return module.eval(), remarks


def _unpickled(model: Model, weights: Path) -> nn.Module:
    import torch

    _code.install(model.path)
    with _reading(model.path / _WEIGHTS):
        module: nn.Module = torch.load(weights, map_location="cpu", weights_only=False)
    return module.eval()


def _built(model: Model, factory: str) -> nn.Module:
    from torch import nn

    name, _, function = factory.partition(":")
    code = _code.load(model.path, name)
    build = getattr(code, function, None)
    if build is None:
        public = [
            key
            for key, value in vars(code).items()
            if callable(value) and getattr(value, "__module__", None) == code.__name__
        ]
        raise UsageError(
            f"{name}.py has no {function}; it has {', '.join(public) or 'no function or class of its own'}"
        )
    if isinstance(build, nn.Module):
        return build
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise UsageError(
            f"{function} of {name}.py is called without arguments, but: {error}; give them defaults"
        ) from error
    try:
        built = build()
    except EdgeoptError:
        raise
    except Exception as error:
        raise ModelFileError(
            f"{function}() of {name}.py failed with {_code.brief(error)}"
        ) from error
    if not isinstance(built, nn.Module):
        raise ModelFileError(
            f"{function}() of {name}.py returns {type(built).__name__}; a torch.nn.Module was expected"
        )
    return built


def _state(path: Path, wanted: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The state dict in a file of weights, and what had to be taken off it."""
    import torch

    with _reading(path):
        found = torch.load(path, map_location="cpu", weights_only=True)
    remarks = []
    if not _is_state(found):
        found, key = _unwrapped(found)
        remarks.append(f"its weights were taken from {key!r} of a checkpoint")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in found) and not any(
            name.startswith(prefix) for name in wanted
        ):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
            remarks.append(f"the names of its weights began with {prefix!r}, which was taken off")
    return found, tuple(remarks)


def _unwrapped(found: Any) -> tuple[Mapping[str, Any], str]:
    if not isinstance(found, Mapping):
        raise ModelFileError(
            f"the weights are of type {type(found).__name__}; a state dict was expected, as saved by "
            "torch.save(module.state_dict(), …)"
        )
    states = [key for key, value in found.items() if _is_state(value)]
    named = [key for key in states if key in _WRAPPERS]
    chosen = named if len(named) == 1 else states
    if len(chosen) != 1:
        told = f"holds {len(chosen)}, in {', '.join(map(str, chosen))}" if chosen else "holds none"
        raise ModelFileError(
            f"a state dict was expected in the weights, but this checkpoint {told}; save one alone with "
            "torch.save(module.state_dict(), …)"
        )
    return found[chosen[0]], str(chosen[0])


def _is_state(value: Any) -> bool:
    import torch

    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and any(isinstance(one, torch.Tensor) for one in value.values())
        and not any(isinstance(one, (Mapping, list)) for one in value.values())
    )


def _fill(module: nn.Module, state: Mapping[str, Any], factory: str) -> None:
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    if missing or unknown:
        told = [f"lack {_some(missing)}"] if missing else []
        told += [f"have {_some(unknown)} besides"] if unknown else []
        raise ModelFileError(
            f"the weights do not fit the module that {factory} builds: they {' and '.join(told)}"
        )
    for name, value in wanted.items():
        given = state[name]
        if hasattr(value, "shape") and getattr(given, "shape", None) != value.shape:
            raise ModelFileError(
                f"the weights do not fit the module that {factory} builds: {name} has the shape "
                f"{tuple(getattr(given, 'shape', ()))} there and {tuple(value.shape)} in the module"
            )
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ModelFileError(
            f"the weights do not fit the module that {factory} builds: {_code.brief(error)}"
        ) from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pickle

    try:
        yield
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) or "weights_only" in str(error):
            raise ModelFileError(
                f"the weights {path.name} hold more than tensors, and loading such files runs code: save the "
                "state dict alone with torch.save(module.state_dict(), …)"
            ) from error
        raise ModelFileError(f"{path.name} is damaged: {_code.brief(error)}") from error
    except (RuntimeError, ValueError, EOFError, AttributeError, ImportError, KeyError) as error:
        raise ModelFileError(f"torch cannot read {path.name}: {_code.brief(error)}") from error
