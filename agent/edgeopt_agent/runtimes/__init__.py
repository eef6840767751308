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
    Quantization,
    Runtime,
    RuntimeInfo,
    Session,
    Settings,
    TensorSpec,
    check_feeds,
    readable,
    refuse_settings,
    require_code,
)

__all__ = [
    "ModelError",
    "OperatorTime",
    "Placement",
    "ProviderRequest",
    "Quantization",
    "Runtime",
    "RuntimeInfo",
    "Session",
    "Settings",
    "TensorSpec",
    "check_feeds",
    "load",
    "names",
    "readable",
    "refuse_settings",
    "require_code",
]

# A class, and the extra of this distribution that installs what it imports.
_BUILT_IN = {
    "onnx": ("edgeopt_agent.runtimes._onnx:OnnxRuntime", "onnx"),
    "ptl": ("edgeopt_agent.runtimes._ptl:PyTorchMobile", "torch"),
    "tflite": ("edgeopt_agent.runtimes._tflite:TFLite", "tflite"),
}
_GROUP = "edgeopt.runtimes"


def names() -> list[str]:
    """Every runtime's name, built in or registered, whether it works here or not."""
    return sorted({*_BUILT_IN, *entry_points(group=_GROUP).names})


def load(name: str) -> Runtime:
    """Imports and constructs a runtime. Only a worker calls this: an import may be heavy or fatal.

    Raises:
        Unavailable: when its package is missing, refuses to be imported or cannot work here.
    """
    target, extra = _BUILT_IN.get(name, ("", ""))
    try:
        if extra:
            module, _, attribute = target.partition(":")
            runtime = getattr(import_module(module), attribute)
        else:
            runtime = entry_points(group=_GROUP)[name].load()
        return runtime()  # type: ignore[no-any-return]
    except KeyError:
        raise Unavailable(
            f"no runtime is called {name!r}; there are {', '.join(names())}"
        ) from None
    except ModuleNotFoundError as error:
        hint = f": pip install 'edgeopt[{extra}]'" if extra else ""
        raise Unavailable(f"not installed ({error}){hint}") from error
    except Unavailable:
        raise
    except Exception as error:  # whatever a package raises while it is imported
        raise Unavailable(
            f"its import fails with {type(error).__name__}: {readable(error)}"
        ) from error
