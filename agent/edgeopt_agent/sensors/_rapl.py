"""Energy counters of Intel and AMD processors (RAPL)."""

from __future__ import annotations

from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Quantity, Scope
from edgeopt_agent.sysfs import FileSensor, Search, read_int

_UJ_IN_MJ = 1e-3


class Rapl(FileSensor):
    """mJ counted up, one channel per domain: "package-0", "package-0-core", "psys".

    µJ of /sys/class/powercap/intel-rapl:*/energy_uj, which AMD processors use too
    (Documentation/power/powercap/powercap.rst). The counter wraps at max_energy_range_uj, often
    262143328850 µJ, which 95 W reach in 45 minutes; values are passed on raw.

    What contains what (Intel, Software Developer's Manual 3B, "RAPL Domains and Platform
    Specificity"): a package contains its power planes, "core" and "uncore". "dram", which sysfs
    shows below the package, is a domain of its own beside it: it adds up with the packages. "psys"
    is the platform as the laptop's maker wired it; one that stands at 0 is not wired.
    The MMIO twin (intel-rapl-mmio) counts the same package and is left out.
    """

    # The counters advance about every ms.
    min_interval_ns = 1_000_000

    @classmethod
    def discover(cls, root: Path) -> Rapl:
        search = Search()
        for domain in search.folders(root / "sys/class/powercap", r"intel-rapl:\d+(:\d+)?"):
            name = search.text(domain / "name") or domain.name
            scope = _scope(name)
            if scope is Scope.INPUT and read_int(domain / "energy_uj") == 0:
                continue
            if domain.name.count(":") > 1:
                package = domain.with_name(domain.name.rpartition(":")[0])
                name = f"{search.text(package / 'name') or package.name}-{name}"
            wraps_at = max(read_int(domain / "max_energy_range_uj") or 0, 0) * _UJ_IN_MJ
            channel = Channel(name, Quantity.ENERGY_MJ, scope, averaged=True, wraps_at=wraps_at)
            search.add(channel, domain / "energy_uj", _UJ_IN_MJ)
        try:
            return cls(search.require("no RAPL domain in /sys/class/powercap"))
        except Unavailable as reason:
            if "denied" not in str(reason):
                raise
            # CVE-2020-8694
            raise Unavailable(f"{reason}; since Linux 5.10 only root may read it") from None


def _scope(domain: str) -> Scope:
    if domain.startswith("package") or domain == "dram":
        return Scope.PACKAGE
    return Scope.INPUT if domain == "psys" else Scope.PART
