"""Which board, computer or phone this is."""

from __future__ import annotations

from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent.facts import _android
from edgeopt_agent.sysfs import read_text

# Where every board has the first; the second is what libraries use, and may be missing.
_DEVICE_TREE = ("sys/firmware/devicetree/base/model", "proc/device-tree/model")
# What firmware says when its vendor filled in nothing.
_PLACEHOLDERS = ("to be filled", "system product", "system manufacturer", "default string", "o.e.m")


def read(root: Path) -> device_pb2.Board:
    """The model by Android's properties, the device tree or DMI, in this order.

    A phone has a device tree too, but that names the SoC vendor's reference design.
    """
    known = _android.properties(root)
    maker, model = known.get("ro.product.manufacturer", ""), known.get("ro.product.model", "")
    if model:
        maker = maker.title() if maker.islower() else maker
        return device_pb2.Board(model=_together(maker, model), source="android")
    for path in _DEVICE_TREE:
        if model := read_text(root / path):
            return device_pb2.Board(model=model, source="device-tree")
    for maker, model in (("sys_vendor", "product_name"), ("board_vendor", "board_name")):
        if product := _dmi(root, model):
            return device_pb2.Board(model=_together(_dmi(root, maker), product), source="dmi")
    return device_pb2.Board(source="unknown")


def _dmi(root: Path, name: str) -> str:
    value = read_text(root / "sys/class/dmi/id" / name)
    return "" if any(word in value.lower() for word in _PLACEHOLDERS) else value


def _together(maker: str, model: str) -> str:
    """Names the maker, unless the model does."""
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
