"""The runtimes this agent knows. A new one is a module beside these and a line here.

A third party registers a `Runtime` class through the entry point group `edgeopt.runtimes`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes._base import (
    ModelError,
    OperatorTime,
    Placement,
    ProviderRequest,
    Runtime,
    RuntimeInfo,
    Session,
    Settings,
    TensorSpec,
)

__all__ = [
    "ModelError",
    "OperatorTime",
    "Placement",
    "ProviderRequest",
    "Runtime",
    "RuntimeInfo",
    "Session",
    "Settings",
    "TensorSpec",
    "load",
    "names",
]

_BUILT_IN = {
    "onnx": "edgeopt_agent.runtimes._onnx:OnnxRuntime",
    "ptl": "edgeopt_agent.runtimes._ptl:PyTorchMobile",
    "tflite": "edgeopt_agent.runtimes._tflite:TFLite",
}
_GROUP = "edgeopt.runtimes"


def names() -> list[str]:
    """Every runtime's name, built in or registered, whether it works here or not."""
    return sorted({*_BUILT_IN, *entry_points(group=_GROUP).names})


def load(name: str) -> Runtime:
    """Imports and constructs a runtime. Only a worker calls this: an import may be heavy or fatal.

    Raises:
        Unavailable: when its package is missing or refuses to be imported.
    """
    try:
        if name in _BUILT_IN:
            module, _, attribute = _BUILT_IN[name].partition(":")
            runtime = getattr(import_module(module), attribute)
        else:
            runtime = entry_points(group=_GROUP)[name].load()
        return runtime()  # type: ignore[no-any-return]
    except KeyError:
        raise Unavailable(f"no runtime is called {name!r}; there are {', '.join(names())}") from None
    except (ImportError, AttributeError, OSError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error
