"""/proc/cpuinfo, and what Arm's numbers in it mean."""

from __future__ import annotations

import re

# (CPU implementer, CPU part): the fields of the register MIDR_EL1. Sources: the Technical Reference
# Manual of each core, arch/arm64/include/asm/cputype.h of Linux, and lscpu-arm.c of util-linux.
_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4C): "Cortex-X1C",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x48, 0xD40): "Cortex-A76",  # HiSilicon's, Kirin 980
    (0x4E, 0x000): "Denver",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
    (0x51, 0x800): "Kryo 2xx Gold",
    (0x51, 0x801): "Kryo 2xx Silver",
    (0x51, 0x802): "Kryo 3xx Gold",
    (0x51, 0x803): "Kryo 3xx Silver",
    (0x51, 0x804): "Kryo 4xx Gold",
    (0x51, 0x805): "Kryo 4xx Silver",
    (0x53, 0x001): "Exynos M1",
    (0x53, 0x002): "Exynos M3",
    (0x53, 0x003): "Exynos M4",
    (0x53, 0x004): "Exynos M5",
}

Fields = dict[str, str]


def parse(text: str) -> dict[int, Fields]:
    """The fields of each processor by its number."""
    processors: dict[int, Fields] = {}
    fields: Fields = {}
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        # Also written "Processor" above all of them, with a description, by old Arm kernels.
        if key == "processor" and re.fullmatch(r"[0-9]{1,5}", value):
            fields = processors.setdefault(int(value), {})
        elif key:
            fields[key] = value
    return processors


def core_name(fields: Fields) -> str:
    """Such as "Cortex-A76" or "AMD EPYC"; an Arm core's numbers if not in the table; else ""."""
    described = fields.get("model name", "")
    try:
        implementer, part = int(fields["CPU implementer"], 16), int(fields["CPU part"], 16)
    except (KeyError, ValueError):
        return described
    # An Arm kernel's "model name" only says "ARMv8 Processor rev 1 (v8l)".
    return _CORES.get((implementer, part), f"implementer {implementer:#x} part {part:#x}")
