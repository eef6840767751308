"""Techniques for torch, on small modules that bite. Each case runs in a process of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import formats, venvs
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.techniques import (
    torch_convert,
    torch_mixed,
    torch_pte,
    torch_quantize,
)

NETS = '''
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.scores = nn.Linear(16 * 36, 64)
        self.last = nn.Linear(64, 4)

    def forward(self, image):
        x = torch.relu(self.norm(self.first(image)))
        x = torch.relu(x + self.second(x))
        x = torch.flatten(torch.max_pool2d(x, 2), 1)
        return self.last(torch.relu(self.scores(x)))


class Gate(nn.Module):
    """Control flow that depends on values."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        if x.sum() > 0:
            return self.inner(x)
        return x


class Gated(Residual):
    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def forward(self, image):
        x = self.gate(torch.relu(self.first(image)))
        x = torch.flatten(torch.max_pool2d(self.second(x), 2), 1)
        return self.last(self.scores(x))


class Untraceable(Residual):
    def forward(self, image):
        if image.sum() > 0:
            image = image * 2
        return super().forward(image)


class TwoInTwoOut(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 3)

    def forward(self, left, right, scale: float = 1.0):
        return {"sum": self.layer(left + right), "difference": (left - right) * scale}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cells = nn.LSTM(6, 32, batch_first=True)
        self.scores = nn.Linear(32, 4)

    def forward(self, series):
        return self.scores(self.cells(series)[0][:, -1])


class Unscriptable(nn.Module):
    """TorchScript has no *names, and the trace of len() is a number."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 3)

    def forward(self, x):
        parts = [one for one in x.chunk(2, 1)]
        joined = (lambda *all: torch.cat(all, 1))(*parts)
        return self.layer(joined).reshape(len(x), 3)


class Eager(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.quant = torch.ao.quantization.QuantStub()
        self.layer = nn.Linear(36, 64)
        self.last = nn.Linear(64, 4)
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.dequant(self.last(self.layer(self.quant(x))))


class Sensitive(nn.Module):
    """One weight, of an input that is always 0, is a thousand times the others: int8 drowns those."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.delicate = nn.Linear(36, 32)
        self.robust = nn.Linear(32, 64)
        self.last = nn.Linear(64, 4)
        with torch.no_grad():
            self.delicate.weight[0, 0] = 1000.0

    def forward(self, x):
        return self.last(torch.relu(self.robust(self.delicate(x))))
'''


def model(folder: Path, factory: str) -> Model:
    source = folder / "nets.py"
    source.write_text(NETS)
    into = folder / "bundle"
    into.mkdir(exist_ok=True)
    return formats.open_model(f"{source}:{factory}", into=into)


def images(count: int = 96, seed: int = 0) -> Examples:
    draw = np.random.default_rng(seed)
    return Examples({"": draw.normal(0, 1, (count, 1, 12, 12)).astype(np.float32)})


def vectors(count: int = 96, width: int = 36) -> Examples:
    draw = np.random.default_rng(1)
    return Examples({"": draw.normal(0, 1, (count, width)).astype(np.float32)})


def silent(_share: float, _text: str) -> None:
    pass


def outputs(path: Path, format_: Format, examples: Examples) -> dict[str, Any]:
    return formats.predict(Model.of(path, format_), examples)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(function: Any, *arguments: Any, **keywords: Any) -> dict[str, str]:
    try:
        function(*arguments, **keywords)
    except EdgeoptError as error:
        return {"reason": error.reason, "message": error.message}
    return {"reason": "", "message": ""}


# The cases: each runs in a child and returns what its test looks at.


def convolutions(folder: Path) -> dict[str, Any]:
    source, examples = model(folder, "Residual"), images()
    ptl = torch_convert.ptl(source, folder / "f.ptl", validation=examples)
    onnx = torch_convert.onnx(source, folder / "f.onnx", validation=examples)
    float_size = (folder / "f.ptl").stat().st_size
    reference = outputs(folder / "f.onnx", Format.ONNX, examples)["output"]
    found: dict[str, Any] = {"ptl": ptl, "onnx": onnx, "ratio": {}, "agree": {}}
    for engine in ("qnnpack", "x86", "fbgemm"):
        path = folder / f"{engine}.ptl"
        found[engine] = torch_quantize.int8(
            source, path, engine=engine, calibration=examples, progress=silent
        )
        found["ratio"][engine] = float_size / path.stat().st_size
        made = outputs(path, Format.PTL, examples)["output"]
        found["agree"][engine] = float((made.argmax(1) == reference.argmax(1)).mean())
    torch_quantize.int8_onnx(source, folder / "i.onnx", calibration=examples, progress=silent)
    made = outputs(folder / "i.onnx", Format.ONNX, images(5))["output"]
    found["agree"]["onnx"] = float((made.argmax(1) == reference[:5].argmax(1)).mean())
    found["onnx_size"] = (folder / "i.onnx").stat().st_size
    found["onnx_float_size"] = (folder / "f.onnx").stat().st_size
    partly = torch_quantize.int8(
        source, folder / "p.ptl", keep_float=("sc*",), calibration=examples, progress=silent
    )
    found["partly"] = partly
    found["wrong"] = refusal(
        torch_quantize.int8,
        source,
        folder / "w.ptl",
        layers=("none.*",),
        calibration=examples,
        progress=silent,
    )
    found["misshapen"] = refusal(
        torch_quantize.int8, source, folder / "w.ptl", calibration=vectors(), progress=silent
    )
    found["leftovers"] = (folder / "w.ptl").exists()
    return found


def repeated(folder: Path) -> dict[str, Any]:
    source, examples = model(folder, "Residual"), images()
    name = folder.name
    torch_convert.ptl(source, folder / f"{name}.ptl", validation=examples)
    torch_quantize.int8(source, folder / f"i{name}.ptl", calibration=examples, progress=silent)
    torch_convert.onnx(source, folder / f"{name}.onnx", validation=examples)
    made = [folder / f"{name}.ptl", folder / f"i{name}.ptl", folder / f"{name}.onnx"]
    told = [str(folder).encode() in path.read_bytes() for path in made]
    return {"digests": [digest(path) for path in made], "paths": told}


def control_flow(folder: Path) -> dict[str, Any]:
    gated = torch_quantize.int8(
        model(folder, "Gated"), folder / "g.ptl", calibration=images(), progress=silent
    )
    refused = refusal(
        torch_quantize.int8,
        model(folder, "Untraceable"),
        folder / "u.ptl",
        calibration=images(),
        progress=silent,
    )
    eager = torch_quantize.int8(
        model(folder, "Eager"), folder / "e.ptl", calibration=vectors(), progress=silent
    )
    shape = outputs(folder / "g.ptl", Format.PTL, images(3))["output"].shape
    return {"gated": gated, "refused": refused, "eager": eager, "shape": shape}


def other_kinds(folder: Path) -> dict[str, Any]:
    import torch

    draw = np.random.default_rng(0)
    pair = {name: draw.normal(size=(20, 8)).astype(np.float32) for name in ("right", "left")}
    both = Examples(pair)
    source = model(folder, "TwoInTwoOut")
    torch_convert.ptl(source, folder / "two.ptl", validation=both)
    torch_convert.onnx(source, folder / "two.onnx", validation=both)
    found: dict[str, Any] = {
        "ptl": sorted(outputs(folder / "two.ptl", Format.PTL, both)),
        "onnx": sorted(outputs(folder / "two.onnx", Format.ONNX, both)),
        "difference": float(
            outputs(folder / "two.ptl", Format.PTL, both)["difference"][3, 1]
            - (pair["left"] - pair["right"])[3, 1]
        ),
        "nameless": refusal(
            torch_convert.ptl, source, folder / "x.ptl", validation=vectors(width=8)
        ),
    }
    series = Examples({"": draw.normal(size=(20, 5, 6)).astype(np.float32)})
    recurrent = model(folder, "Recurrent")
    found["dynamic"] = torch_quantize.dynamic(recurrent, folder / "r.ptl", calibration=series)
    torch_convert.ptl(recurrent, folder / "rf.ptl", validation=series)
    found["dynamic_ratio"] = (folder / "rf.ptl").stat().st_size / (folder / "r.ptl").stat().st_size
    found["traced"] = torch_convert.ptl(
        model(folder, "Unscriptable"), folder / "t.ptl", validation=vectors(width=8)
    )
    script = torch.jit.script(formats.torch.load(model(folder, "Residual")))
    script.save(str(folder / "s.pt"))
    archive = Model.of(folder / "s.pt", Format.TORCHSCRIPT)
    found["script"] = [
        torch_convert.ptl(archive, folder / "s.ptl", validation=images(20)),
        torch_convert.onnx(archive, folder / "s.onnx", validation=images(20)),
    ]
    module = formats.torch.load(model(folder, "Residual"))
    program = torch.export.export(module, (torch.zeros(1, 1, 12, 12),))
    torch.export.save(program, folder / "e.pt2")
    exported = Model.of(folder / "e.pt2", Format.EXPORTED_PROGRAM)
    found["exported"] = torch_convert.ptl(exported, folder / "e.ptl", validation=images(20))
    return found


def mixed(folder: Path) -> dict[str, Any]:
    examples = vectors(400)
    examples.inputs[""][:, 0] = 0
    agreement = Metric.of("agreement", None)

    def made(budget: float, **given: Any) -> Any:
        return torch_mixed.mixed(
            model(folder, "Sensitive"),
            folder / f"m{budget}.ptl",
            per_channel=False,
            budget_pt=budget,
            calibration=examples.take(slice(100)),
            validation=examples,
            metric=agreement,
            seed=0,
            progress=silent,
            **given,
        )

    found = {str(budget): made(budget) for budget in (2.0, 100.0)}
    found["beyond"] = refusal(lambda: made(0.1, keep_float=("robust", "last")))
    found["left"] = (folder / "m0.1.ptl").exists()
    return found


def in_child(case: Any, folder: Path) -> Any:
    """What a case returns; it runs in a process of its own, as torch warns and sets things globally."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", __file__, case.__name__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text())


def test_static_int8_is_small_and_agrees(tmp_path: Path) -> None:
    found = in_child(convolutions, tmp_path)
    assert found["ptl"]["batch"] is None
    assert found["ptl"]["agreement"]["max_abs"] < 1e-5
    assert found["onnx"]["exporter"] == "script"
    for engine, ratio in found["ratio"].items():
        assert ratio > 2.8, engine
        assert found[engine]["engine"] == engine
        assert found[engine]["fallback"] == []
    for way, same in found["agree"].items():
        assert same > 0.9, way
    assert found["onnx_float_size"] / found["onnx_size"] > 2.8
    assert found["partly"]["fallback"] == ["scores (Linear): kept in float"]
    assert "scores" not in found["partly"]["quantized"]
    assert found["wrong"]["reason"] == "USAGE"
    assert "second" in found["wrong"]["message"]
    assert found["misshapen"]["reason"] == "DATA_INVALID"
    assert not found["leftovers"]


def test_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (in_child(repeated, tmp_path / name) for name in ("one", "another"))
    assert first["digests"] == second["digests"]
    assert not any(first["paths"])


def test_control_flow_stays_in_float_and_is_named(tmp_path: Path) -> None:
    found = in_child(control_flow, tmp_path)
    told = "gate.inner (Conv2d): torch.fx cannot trace what is around it"
    assert found["gated"]["fallback"] == [told]
    assert found["shape"] == [3, 4]
    assert found["refused"]["reason"] == "UNSUPPORTED_OPERATOR"
    assert "Untraceable" in found["refused"]["message"]
    assert found["eager"]["quantized"] == ["layer", "last"]


def test_inputs_outputs_and_other_kinds_of_models(tmp_path: Path) -> None:
    found = in_child(other_kinds, tmp_path)
    assert found["ptl"] == found["onnx"] == ["difference", "sum"]
    assert abs(found["difference"]) < 1e-6
    assert found["nameless"]["reason"] == "DATA_INVALID"
    assert "left, right" in found["nameless"]["message"]
    assert found["dynamic"]["quantized"] == ["cells", "scores"]
    assert found["dynamic_ratio"] > 1.5
    assert found["traced"]["way"] == "trace"
    assert [one["batch"] for one in found["script"]] == [None, None]
    assert found["exported"]["batch"] == 1


def test_mixed_keeps_what_hurts_in_float(tmp_path: Path) -> None:
    found = in_child(mixed, tmp_path)
    careful, careless = found["2.0"], found["100.0"]
    by_name = {row["layer"]: row for row in careful["sensitivity"]}
    assert by_name["delicate"]["drop_pt"] > by_name["robust"]["drop_pt"]
    assert by_name["delicate"]["chosen"] == "float"
    assert by_name["robust"]["chosen"] == "int8"
    lost = careful["validation"]
    assert lost["drop_pt"] + 1.645 * lost["standard_error"] <= 2.0
    assert (lost["unit"], lost["examples"]) == ("pt", 400)
    assert careless["quantized"] == ["delicate", "robust", "last"]
    assert found["beyond"]["reason"] == "BUDGET_EXCEEDED"
    assert found["beyond"]["message"].startswith("even with only delicate in int8 it loses ")
    assert not found["left"]
    sizes = [(tmp_path / f"m{budget}.ptl").stat().st_size for budget in ("2.0", "100.0")]
    assert sizes[0] > sizes[1]


def test_an_environment_is_made_once_and_leaves_nothing_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path))
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text("[project]\nname = 'nothing'\nversion = 'no version'\n")
    with pytest.raises(EdgeoptError, match="environment for empty") as caught:
        venvs.ensure("empty", [str(package)], size="nothing")
    assert caught.value.reason == "LIBRARY_MISSING"
    assert not list((tmp_path / "data" / "venvs").iterdir())
    told: list[str] = []
    python = venvs.ensure(
        "empty", ["pip"], size="12 MB", progress=lambda _, text: told.append(text)
    )
    assert python.exists()
    assert "12 MB" in told[0]
    told.clear()
    assert (
        venvs.ensure("empty", ["pip"], size="12 MB", progress=lambda _, t: told.append(t)) == python
    )
    assert not told


def test_a_python_that_is_not_there_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert venvs.find_python(minimum=(3, 8)) == sys.executable
    with pytest.raises(EdgeoptError, match=r"install python3\.19"):
        venvs.find_python(minimum=(3, 19))


def test_an_executorch_program_is_refused_without_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> Path:
        raise EdgeoptError("no index", "LIBRARY_MISSING")

    monkeypatch.setattr(venvs, "ensure", missing)
    source = Model(tmp_path, Format.TORCH, "", 0)
    with pytest.raises(EdgeoptError, match="no index"):
        torch_pte.pte(source, tmp_path / "m.pte", validation=images(), progress=silent)
    assert not (tmp_path / "m.pte").exists()


if __name__ == "__main__":
    where = Path(sys.argv[2])
    (where / "result.json").write_text(json.dumps(globals()[sys.argv[1]](where)))
