"""Values of the protocol's enums, of which a newer agent may know more."""

from __future__ import annotations

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def name(enum: EnumTypeWrapper, value: int, prefix: str) -> str:
    """A value's name in lower case: QUANTITY_CLOCK_HZ is "clock_hz".

    Args:
        enum: the enum's class.
        value: as the agent sent it.
        prefix: that all names of this enum have, such as "QUANTITY_".

    Returns:
        "unknown" for a value that this host does not know, and for the unspecified one.
    """
    if value not in enum.values() or value == 0:
        return "unknown"
    return enum.Name(value).removeprefix(prefix).lower()
