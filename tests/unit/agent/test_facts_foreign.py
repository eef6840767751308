"""What text from a foreign kernel or vendor does to the parsers: never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boards
from edgeopt_agent.facts import _android, _cgroup, _cpuinfo, cpu, system


@given(st.text())
def test_foreign_cpuinfo(text: str) -> None:
    for fields in _cpuinfo.parse(text).values():
        assert isinstance(_cpuinfo.core_name(fields), str)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["processor", "CPU implementer", "CPU part", "model name"]), st.text()
        )
    )
)
def test_half_foreign_cpuinfo(lines: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{key}\t: {value}" for key, value in lines)
    for number, fields in _cpuinfo.parse(text).items():
        assert number >= 0
        assert isinstance(_cpuinfo.core_name(fields), str)


@given(st.text())
def test_foreign_os_release(text: str) -> None:
    assert all(isinstance(value, str) for value in system.os_release(text).values())


@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\"'\\`$")))
def test_quoted_os_release(name: str) -> None:
    for quote in ('"', "'"):
        assert system.os_release(f"A=1\nPRETTY_NAME={quote}{name} 1{quote}\n") == {
            "A": "1",
            "PRETTY_NAME": f"{name} 1",
        }


@given(st.text())
def test_foreign_getprop(listing: str) -> None:
    assert isinstance(_android.parse(listing), dict)


@given(st.text(alphabet="0123456789-, \n"))
def test_foreign_cpu_lists(text: str) -> None:
    assert all(0 <= number <= 99_999 for number in cpu._list(text))


@settings(deadline=None)  # it writes files
@given(content=st.text(alphabet="0123456789:/.,-max \n"))
def test_foreign_cgroups(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    root = tmp_path_factory.getbasetemp() / "groups"
    boards.write(root / "proc/self/cgroup", f"0::/a\n1:memory,cpu:/a\n{content}")
    for name in (
        "memory.max",
        "cpu.max",
        "memory/a/memory.limit_in_bytes",
        "cpu/a/cpu.cfs_quota_us",
    ):
        boards.write(root / "sys/fs/cgroup" / name, content)
    assert _cgroup.cpu_quota(root) > 0
    assert isinstance(_cgroup.memory_limit(root), int | None)
