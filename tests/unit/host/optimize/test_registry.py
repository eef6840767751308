"""Techniques of plug-ins: found, and left out when they cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeopt_host.cli.optimize import techniques as command
from edgeopt_host.errors import UsageError
from edgeopt_host.optimize import recipe, registry
from edgeopt_host.optimize.model import Format

GOOD = '''
from __future__ import annotations
from pathlib import Path
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import technique

@technique("prune:test", takes={Format.ONNX}, gives=Format.ONNX)
def prune(source: Model, target: Path, *, share: float = 0.5) -> None:
    """Removes weights."""
'''


@pytest.fixture(autouse=True)
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four plug-ins of an installed distribution: three raise when they are imported."""
    (tmp_path / "good_plug_in.py").write_text(GOOD)
    (tmp_path / "bad_plug_in.py").write_text("import no_such_package\n")
    (tmp_path / "worse_plug_in.py").write_text("raise SystemExit(3)\n")
    info = tmp_path / "plug_ins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-ins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgeopt.techniques]\nbad = bad_plug_in\ngood = good_plug_in\nworse = worse_plug_in\n"
        "gone = gone_plug_in\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._found.cache_clear()
    yield
    registry._found.cache_clear()


def test_a_plug_in_that_raises_takes_nothing_else_along() -> None:
    assert [one.name for one in metadata.entry_points(group="edgeopt.techniques")][:1] == ["bad"]
    assert registry.find("prune:test", Format.ONNX).function == "good_plug_in:prune"
    assert registry.named("quantize:int8")
    missing = "the plug-in {} of plug-ins needs the Python package {}, which is not installed"
    assert registry.broken() == [
        f"{why}: its techniques are left out"
        for why in (
            missing.format("bad", "no_such_package"),
            "the plug-in worse of plug-ins failed with SystemExit: 3",
            missing.format("gone", "gone_plug_in"),
        )
    ]


def test_what_is_missing_may_be_in_one_that_is_broken() -> None:
    for ask in (
        lambda: registry.named("prune:other"),
        lambda: registry.find("prune:test", Format.TFLITE),
    ):
        with pytest.raises(UsageError, match="the plug-in bad of plug-ins needs"):
            ask()
    with pytest.raises(UsageError, match=r"no technique 'hew'.*the plug-in bad of plug-ins"):
        recipe.parse_steps("hew")


def test_the_list_warns_of_them() -> None:
    shown = CliRunner().invoke(command, ["prune:test"])
    assert shown.exit_code == 0
    assert "warning: the plug-in bad of plug-ins needs" in shown.stderr
    assert "warning" not in shown.stdout
