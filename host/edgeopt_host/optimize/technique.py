"""What a technique is: a documented function, and what its signature says of it.

    @technique("quantize:float16", takes={Format.TFLITE}, gives=Format.TFLITE, libraries={"litert-quantizer"})
    def float16(source: Model, target: Path, *, keep_io: bool = True) -> Notes:
        \"\"\"Half-precision weights.

Args:
            keep_io: inputs and outputs stay float32.
        \"\"\"

Keyword arguments are its parameters, whose types, defaults and meaning recipes and the command line
take from here. These names are filled in by who runs it, and say what it needs:

    calibration, train, validation   Examples of that split; Examples | None when it can do without
    metric                           Metric: how right outputs are
    seed                             int
    progress                         Progress: called with a share done and a few words
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt_host.optimize.model import Format

# What a technique tells besides its model: JSON, kept in the history.
Notes = dict[str, Any]
Progress = Callable[[float, str], None]

SPLITS = ("calibration", "train", "validation")
_FILLED = {*SPLITS, "metric", "seed", "progress"}
_ATTRIBUTE = "__edgeopt_technique__"
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Parameter:
    """A setting of a technique.

    Attributes:
        name: as in recipes.
        kind: bool, int, float or str; for `many`, of each item.
        default: None when it must be given, unless `optional`.
        choices: what it may be; empty for anything of its kind.
        many: a list of such.
        optional: None is a value of it.
        doc: one line.
    """

    name: str
    kind: type
    default: Any
    required: bool
    choices: tuple[Any, ...]
    many: bool
    optional: bool
    doc: str

    def check(self, value: Any) -> Any:
        """The value, as its function takes it.

        Raises:
            ValueError: telling what is wrong with it.
        """
        if value is None and self.optional:
            return None
        if not self.many:
            return self._item(value)
        if not isinstance(value, list | tuple):
            raise ValueError(f"{value!r} is no list")  # noqa: TRY004 - told as what else is wrong
        return tuple(self._item(item) for item in value)

    def _item(self, value: Any) -> Any:
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not self.kind:
            raise ValueError(f"{value!r} is no {_KINDS[self.kind]}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, self.choices))}")
        return value


@dataclass(frozen=True)
class Technique:
    """One way to make one kind of model of another.

    Attributes:
        name: as in recipes, such as "quantize:int8".
        takes: formats it can be applied to.
        gives: the format of what it makes.
        summary: one line.
        parameters: its settings.
        splits: the data it uses, of SPLITS.
        optional_splits: those of them that it can do without.
        labels: whether those need labels.
        libraries: distributions whose versions its result depends on.
        deterministic: whether the same input and seed give the same bytes.
        verifies: whether made-up examples do for want of real ones.
        function: "module:name".
    """

    name: str
    takes: frozenset[Format]
    gives: Format
    summary: str
    parameters: tuple[Parameter, ...]
    splits: tuple[str, ...]
    optional_splits: frozenset[str]
    labels: bool
    libraries: frozenset[str]
    deterministic: bool
    verifies: bool
    function: str

    @property
    def needed_splits(self) -> tuple[str, ...]:
        """The data without which it does not start: made-up examples do to verify a conversion."""
        return tuple(
            split
            for split in self.splits
            if split not in self.optional_splits and not self.verifies
        )

    @property
    def extras(self) -> tuple[str, ...]:
        """Arguments besides parameters that its function wants."""
        return tuple(inspect.signature(self.load()).parameters.keys() & _FILLED)

    def load(self) -> Callable[..., Notes | None]:
        """The function."""
        from importlib import import_module

        module, _, name = self.function.partition(":")
        return typing.cast("Callable[..., Notes | None]", getattr(import_module(module), name))


_Function = typing.TypeVar("_Function", bound=Callable[..., Notes | None])


def technique(
    name: str,
    *,
    takes: Iterable[Format],
    gives: Format,
    libraries: Iterable[str] = (),
    labels: bool = False,
    deterministic: bool = True,
    verifies: bool = False,
) -> Callable[[_Function], _Function]:
    """Marks a function as a technique; the registry lists its module.

    Args:
        name: "FAMILY:KIND". Several functions may share it when they take different formats.
        takes: formats of its source.
        gives: the format of its target.
        libraries: distributions whose versions decide what it makes.
        labels: whether the examples it asks for must have labels.
        deterministic: whether the same source, data, parameters and seed give the same bytes.
        verifies: whether its examples only show that outputs stay the same, so that made-up ones do.
    """

    def mark(function: _Function) -> _Function:
        described = _describe(function)
        setattr(
            function,
            _ATTRIBUTE,
            Technique(
                name=name,
                takes=frozenset(takes),
                gives=gives,
                labels=labels,
                libraries=frozenset(libraries),
                deterministic=deterministic,
                verifies=verifies,
                **described,
            ),
        )
        return function

    return mark


def of(function: Callable[..., Any]) -> Technique | None:
    """What a function was marked as."""
    return typing.cast("Technique | None", getattr(function, _ATTRIBUTE, None))


def _describe(function: Callable[..., Any]) -> dict[str, Any]:
    from docstring_parser import DocstringStyle, parse

    doc = parse(function.__doc__ or "", DocstringStyle.GOOGLE)
    told = {one.arg_name: " ".join((one.description or "").split()) for one in doc.params}
    hints = typing.get_type_hints(function)
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
    return {
        "summary": " ".join((doc.short_description or "").split()),
        "parameters": tuple(
            _parameter(one, hints[one.name], told) for one in own if one.name not in _FILLED
        ),
        "splits": tuple(split for split in SPLITS if split in signature.parameters),
        "optional_splits": frozenset(
            split for split in SPLITS if type(None) in typing.get_args(hints.get(split))
        ),
        "function": f"{function.__module__}:{function.__qualname__}",
    }


def _parameter(given: inspect.Parameter, hint: Any, told: Mapping[str, str]) -> Parameter:
    optional = many = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
        optional = True
    if typing.get_origin(hint) is tuple:
        hint, many = typing.get_args(hint)[0], True
    choices: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        hint = type(choices[0])
    if hint not in {bool, int, float, str}:
        raise TypeError(f"parameter {given.name} of a technique has the type {hint}")
    required = given.default is given.empty
    default = None if required else given.default
    return Parameter(
        given.name, hint, default, required, choices, many, optional, told.get(given.name, "")
    )
