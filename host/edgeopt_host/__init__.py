"""The host: pushes models to devices, measures them there and keeps the results.

    from edgeopt_host import Bench, Plan

    runs = Bench().push("model.tflite", devices=["local"], plan=Plan().quick())
    print(runs[0].latency_ms.p50)

Names are imported when used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeopt_host.bench import Bench
    from edgeopt_host.errors import (
        Cancelled,
        DeviceError,
        EdgeoptError,
        ModelFileError,
        StoreError,
        Unreachable,
        UsageError,
    )
    from edgeopt_host.looks import Answer
    from edgeopt_host.observer import Observer
    from edgeopt_host.plan import (
        EnergyPlan,
        Execution,
        InputRange,
        Inputs,
        InputShape,
        Plan,
        Provider,
        StartCondition,
    )
    from edgeopt_host.run import Run

__all__ = [
    "Answer",
    "Bench",
    "Cancelled",
    "DeviceError",
    "EdgeoptError",
    "EnergyPlan",
    "Execution",
    "InputRange",
    "InputShape",
    "Inputs",
    "ModelFileError",
    "Observer",
    "Plan",
    "Provider",
    "Run",
    "StartCondition",
    "StoreError",
    "Unreachable",
    "UsageError",
]

_MODULES = {
    "Answer": "looks",
    "Bench": "bench",
    "Observer": "observer",
    "Run": "run",
    **dict.fromkeys(
        (
            "EnergyPlan",
            "Execution",
            "InputRange",
            "InputShape",
            "Inputs",
            "Plan",
            "Provider",
            "StartCondition",
        ),
        "plan",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"edgeopt_host.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
