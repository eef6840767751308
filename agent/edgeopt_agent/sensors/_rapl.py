"""Energy counters of Intel and AMD processors (RAPL)."""

from __future__ import annotations

from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Quantity
from edgeopt_agent.sysfs import FileSensor, Search

_UJ_IN_MJ = 1e-3


class Rapl(FileSensor):
    """mJ counted up, one channel per domain: "package-0", "package-0-core", "psys".

    µJ of /sys/class/powercap/intel-rapl:*/energy_uj, which AMD processors use too
    (Documentation/power/powercap/powercap.rst). The counter wraps at max_energy_range_uj, often
    262143328850 µJ, which 95 W reach in 45 minutes; values are passed on raw, so a difference below
    zero means that it wrapped. A package holds its sub-domains: don't add them up.
    The MMIO twin (intel-rapl-mmio) counts the same package and is left out.
    """

    # The counters advance about every ms.
    min_interval_ns = 1_000_000

    @classmethod
    def discover(cls, root: Path) -> Rapl:
        search = Search()
        for domain in search.folders(root / "sys/class/powercap", r"intel-rapl:\d+(:\d+)?"):
            name = search.text(domain / "name") or domain.name
            if domain.name.count(":") > 1:
                package = domain.with_name(domain.name.rpartition(":")[0])
                name = f"{search.text(package / 'name') or package.name}-{name}"
            search.add(name, Quantity.ENERGY_MJ, domain / "energy_uj", _UJ_IN_MJ)
        try:
            return cls(search.require("no RAPL domain in /sys/class/powercap"))
        except Unavailable as reason:
            if "denied" not in str(reason):
                raise
            # CVE-2020-8694
            raise Unavailable(f"{reason}; since Linux 5.10 only root may read it") from None
