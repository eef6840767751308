"""What a user's function returns: arrays to train and to test with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.tensors import Array


@dataclass
class Dataset:
    """Examples and their labels; either pair may be missing. The first axis is the example.

    Anything that `numpy.asarray` takes will do: arrays, lists, tensors on the CPU.

    Args:
        x_train: (n, …) what the model takes, preprocessed as it wants it; a mapping by input name for
            a model with several inputs.
        y_train: (n,) classes as integers from 0, (n, classes) one-hot, or (n, …) values as floats;
            None when there are no labels.
        x_val: examples to validate with; without them they come out of `x_train`.
        y_val: their labels.
        x_test: examples that nothing but tests may use.
        y_test: their labels.
    """

    x_train: Any = None
    y_train: Any = None
    x_val: Any = None
    y_val: Any = None
    x_test: Any = None
    y_test: Any = None


NAMES = tuple(one.name for one in fields(Dataset))


def is_name(name: str) -> bool:
    """Whether an array of this name is read, such as `x_test`, `x_test.NAME`, `y_test`."""
    whole, dot, _ = name.partition(".")
    return whole in NAMES and (not dot or whole.startswith("x_"))


def flatten(returned: object, where: str) -> dict[str, Array]:
    """The arrays of a Dataset, or a mapping of the same names, by `x_test` or `x_test.NAME`.

    Raises:
        EdgeoptError: DATA_INVALID when it is neither, or holds what is no array.
    """
    if isinstance(returned, Dataset):
        given: Mapping[Any, Any] = {name: getattr(returned, name) for name in NAMES}
    elif isinstance(returned, Mapping):
        given = returned
    else:
        raise _invalid(
            where,
            f"returned {_article(type(returned).__name__)}; it is to return an "
            "edgeopt_host.optimize.data.Dataset, or a dict with x_train, y_train, x_test, y_test",
        )
    unknown = [str(name) for name in given if not isinstance(name, str) or not is_name(name)]
    if unknown:
        raise _invalid(
            where,
            f"returned {', '.join(map(repr, unknown[:5]))} too; names are {', '.join(NAMES)}, and "
            "x_train.NAME for several inputs",
        )
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        elif value is not None:
            flat[name] = value
    return {name: _array(value, name, where) for name, value in flat.items()}


def _array(value: Any, name: str, where: str) -> Array:
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # tensors on other devices, ragged lists, anything
        raise _invalid(
            where, f"returned a {name} that is no array: {str(error).splitlines()[0][:200]}"
        ) from error


def _article(name: str) -> str:
    if name == "NoneType":
        return "nothing"
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _invalid(where: str, why: str) -> EdgeoptError:
    return EdgeoptError(f"{where} {why}", "DATA_INVALID")
