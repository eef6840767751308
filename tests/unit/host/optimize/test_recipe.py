from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt_host.errors import UsageError
from edgeopt_host.optimize import needs, recipe
from edgeopt_host.optimize.model import Format
from edgeopt_host.optimize.recipe import Recipe, RecipeError, Step, parse_steps

HEAD = 'schema = "edgeopt.recipe/1"\n'
STEP = '[[step]]\ntechnique = "quantize:dynamic"\n'


def test_steps_of_the_command_line() -> None:
    steps = parse_steps(
        "convert:onnx; quantize:int8,per_channel=false,operators=Conv+MatMul; convert:ptl,from=original,id=p"
    )
    assert steps == (
        Step("convert-onnx", "original", "convert:onnx", {}),
        Step(
            "quantize-int8",
            "convert-onnx",
            "quantize:int8",
            {"per_channel": False, "operators": ("Conv", "MatMul")},
        ),
        Step("p", "original", "convert:ptl", {}),
    )


def test_the_same_technique_twice_has_two_ids() -> None:
    steps = parse_steps("quantize:dynamic; quantize:dynamic,from=original")
    assert [step.id for step in steps] == ["quantize-dynamic", "quantize-dynamic-2"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "there is no step: give one at least, such as quantize:dynamic"),
        ("quantise:int8", "there is no technique 'quantise:int8'; did you mean quantize:int8?"),
        ("quantize:int8,io", "step quantize:int8: 'io' is not of the form KEY=VALUE"),
        ("quantize:int8,io=int9", "step quantize:int8: io: 'int9' is none of int8, uint8, float"),
        (
            "quantize:int8,sped=1",
            "step quantize:int8: sped: quantize:int8 has no such parameter; it has ",
        ),
        ("convert:ptl,from=x", 'from: "x" is no step before this one; there are original'),
        ("convert:ptl,id=original", 'id: "original" is no id'),
        ("quantize:int8,per_channel=maybe", "per_channel: 'maybe' is no true or false"),
        ("quantize:int8,io=int8,io=uint8", "io is given twice; join items by +"),
    ],
)
def test_steps_that_are_wrong(given: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_steps(given)
    assert said in error.value.message


def test_a_recipe_survives_being_written(tmp_path: Path) -> None:
    (tmp_path / "data.npz").touch()
    whole = Recipe(
        steps=parse_steps("quantize:int8,operators=Conv; quantize:dynamic,from=original,id=light"),
        model=str(tmp_path / "net.py:build"),
        model_digest="a" * 64,
        weights=str(tmp_path / "net.pt"),
        data=str(tmp_path / "data.npz"),
        data_digest="b" * 64,
        calibration=50,
        metric="top5",
        top_k=(3,),
        robustness=False,
        devices=("local",),
        seed=7,
    )
    out = tmp_path / "out"
    out.mkdir()
    file = out / "recipe.toml"
    file.write_text(recipe.write(whole, out))
    assert str(tmp_path) not in file.read_text()
    read = recipe.load(file)
    for name in ("model", "weights", "data"):
        path = Path(str(getattr(read, name)))
        assert path.resolve() == Path(str(getattr(whole, name)))
    kept = {
        name: getattr(read, name)
        for name in Recipe.__dataclass_fields__
        if name not in {"model", "weights", "data"}
    }
    assert kept == {name: getattr(whole, name) for name in kept}


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("", None, "", 'write schema = "edgeopt.recipe/1" at the top'),
        (HEAD, None, "", "there is no [[step]]: a recipe needs one at least"),
        (HEAD + "sed = 1\n" + STEP, 2, "sed", "there is no such key; did you mean seed?"),
        (HEAD + STEP + "io = 3\n", 4, "step[1].io", "quantize:dynamic has no such parameter"),
        (HEAD + "[data]\ncalibration = 0\n" + STEP, 3, "data.calibration", "0 is no whole number"),
        (HEAD + '[model]\nsha256 = "a"\n' + STEP, 3, "model.sha256", '"a" is no SHA-256'),
        (HEAD + "step = 3\n", 2, "step", "write each step as a table of its own, under [[step]]"),
        (HEAD + "[[step]]\nid = 'a'\n", 2, "step[1].technique", "a step needs a technique"),
        (HEAD + "[[step]\n", 2, "", "no TOML"),
    ],
)
def test_recipes_that_are_wrong(
    text: str, line: int | None, key: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        recipe.load(file)
    first = error.value.problems[0]
    assert (first.line, first.key) == (line, key)
    assert said in first.message


def test_a_chain_is_checked_before_anything_runs() -> None:
    steps = parse_steps("convert:onnx; quantize:int8")
    chosen = recipe.plan(steps, Format.TORCH)
    assert [one.gives for one in chosen.values()] == [Format.ONNX, Format.ONNX]
    with pytest.raises(UsageError, match=r"convert:onnx takes .*, and what it is given is ptl"):
        recipe.plan(parse_steps("convert:ptl; convert:onnx"), Format.TORCH)
    with pytest.raises(UsageError, match=r"quantize:int8 of torch has no parameter percentile"):
        recipe.plan(parse_steps("quantize:int8,percentile=99.0"), Format.TORCH)


def test_data_that_a_step_needs_are_asked_for_before_it_starts() -> None:
    chosen = recipe.plan(parse_steps("quantize:int8"), Format.ONNX)
    with pytest.raises(UsageError, match="quantize:int8 needs calibration examples: give --data"):
        needs.check(chosen, has_data=False)
    needs.check(chosen, has_data=True)
