"""Functions of the user's: how they are found, and what their digests cover."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import _user_code

FUNCTION = "def f(outputs, labels):\n    return helper.score(outputs)\n"


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A working directory with functions; users' modules and paths do not outlive a test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    write("own/mine.py", f"import helper\n{FUNCTION}")
    write("own/helper.py", "def score(x):\n    import deep\n    return deep.X + x\n")
    write("own/deep.py", "X = 1\n")
    write("own/other.py", "raise RuntimeError('nobody asked')\n")
    write("pack/__init__.py", "")
    write("pack/inner/mine.py", f"from .. import helper\n{FUNCTION}")
    write("pack/helper.py", "import beside\ndef score(x):\n    return x\n")
    write("beside.py", "raise RuntimeError('imported')\n")
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(file: str, text: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text)


@pytest.mark.parametrize(
    ("spec", "covered", "free"),
    [
        ("own/mine.py:f", ["own/mine.py", "own/helper.py", "own/deep.py"], ["own/other.py"]),
        (
            "pack.inner.mine:f",
            ["pack/inner/mine.py", "pack/__init__.py", "pack/helper.py", "beside.py"],
            ["own/mine.py"],
        ),
    ],
)
def test_a_digest_covers_what_a_function_imports(
    spec: str, covered: list[str], free: list[str]
) -> None:
    modules = set(sys.modules)
    first = _user_code.digest(spec)
    assert first is not None
    assert _user_code.digest(spec) == first
    for file in covered:
        text = Path(file).read_text()
        write(file, f"{text}# changed\n")
        assert _user_code.digest(spec) != first, file
        write(file, text)
    for file in free:
        write(file, "Y = 2\n")
    assert _user_code.digest(spec) == first
    assert not {"mine", "helper", "pack", "beside"} & (set(sys.modules) - modules)


def test_what_does_not_parse_has_a_digest_yet() -> None:
    first = _user_code.digest("own/mine.py:f")
    write("own/deep.py", "X = (\n")
    broken = _user_code.digest("own/mine.py:f")
    assert broken not in {None, first}
    write("own/mine.py", "def (\n")
    assert _user_code.digest("own/mine.py:f") not in {None, broken}


def test_installed_functions_have_one_and_what_is_none_has_not() -> None:
    assert _user_code.digest("numpy.linalg:norm")
    assert _user_code.digest("statistics:mean")
    for spec in (
        "accuracy",
        "top5",
        "own/gone.py:f",
        "no.such:f",
        "own/mine.py:",
        "sys:exit",
        "a\0b:f",
    ):
        assert _user_code.digest(spec) is None


def test_two_files_of_one_name_are_two_modules() -> None:
    write("a/twin.py", "def f():\n    return 'a'\n")
    write("b/twin.py", "def f():\n    return 'b'\n")
    found = [_user_code.function(f"{one}/twin.py:f", "be called", "X") for one in "abab"]
    assert [one() for one in found] == ["a", "b", "a", "b"]


def test_a_module_is_looked_for_in_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    write("beside.py", "def f():\n    return 7\n")
    assert _user_code.function("beside:f", "be called", "X")() == 7


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise SystemExit(3)", "own/bad.py failed with SystemExit: 3"),
        ("def f(:", "own/bad.py failed with SyntaxError"),
        ("import no_such_package", "needs the Python package no_such_package"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told(body: str, said: str) -> None:
    write("own/bad.py", body)
    with pytest.raises(EdgeoptError, match=said) as caught:
        _user_code.function("own/bad.py:f", "be called", "METRIC_FAILED")
    assert caught.value.reason == "METRIC_FAILED"
    assert "bad" not in sys.modules


def test_memory_that_runs_out_is_no_mistake_of_the_function() -> None:
    write("own/big.py", "def f():\n    raise MemoryError\n")
    function = _user_code.function("own/big.py:f", "be called", "X")
    with pytest.raises(MemoryError):
        _user_code.call(function, "the function", "X")
    with pytest.raises(UsageError, match="which was to be called"):
        _user_code.function("own/big.py:g", "be called", "X")
