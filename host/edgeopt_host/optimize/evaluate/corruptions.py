"""What happens to inputs where devices are: noise, blur, other light, missing samples.

All of it is relative to the data: their standard deviation, range and size. Results stay within the
range of the data and in their dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.tensors import Array

SEVERITIES = (1, 2)

# Standard deviations of the noise, as a share of the data's.
_NOISE = {1: 0.1, 2: 0.3}
# Standard deviations of the Gaussian blur, as a share of the shorter side and in pixels at least.
_BLUR = {1: (0.015, 0.5), 2: (0.03, 1.0)}
# Samples of a series that are averaged.
_AVERAGED = {1: 3, 2: 7}
# Gain about 1, and offset as a share of the data's range, either way.
_BRIGHTNESS = {1: (0.2, 0.1), 2: (0.4, 0.2)}
# Share of pixels, samples or features.
_MISSING = {1: 0.1, 2: 0.3}

# The smallest side of a grey image, and the most channels that an axis may have not to be a side.
_SIDE, _CHANNELS = 16, 4
# So many features in a row are samples of a series.
_SERIES = 128
_TABLE, _SEQUENCE, _IMAGE, _VIDEO = 2, 3, 4, 5


@dataclass(frozen=True)
class Facts:
    """What corruptions are relative to, of one input."""

    deviation: float
    low: float
    high: float
    spatial: tuple[int, ...]
    series: bool
    means: Array

    @classmethod
    def of(cls, array: Array) -> Facts:
        """Of examples (n, …).

        (n, h, w, c), (n, c, h, w) and (n, h, w) from 16 pixels a side are images; (n, time, c) and
        (n, 128 or more) series; the rest are tables.
        """
        spatial = _spatial(array.shape)
        low, high = float(array.min()), float(array.max())
        series = len(spatial) == 1
        # Of each feature.
        means = array.mean(axis=0, dtype=np.float64)
        return cls(float(array.std(dtype=np.float64)), low, high, spatial, series, means)


def suitable(array: Array) -> bool:
    """Whether an input holds quantities: other integers are indices of something."""
    return array.dtype.kind == "f" or array.dtype in {np.dtype(np.uint8), np.dtype(np.int8)}


def corrupt(examples: Examples, corruption: str, severity: int, seed: int) -> Examples | None:
    """Examples as a device may see them, the same for the same seed; None when it does not apply.

    Args:
        examples: in memory as a whole, as often as four times.
        corruption: one of CORRUPTIONS.
        severity: one of SEVERITIES.
        seed: of what is drawn.
    """
    change = CORRUPTIONS[corruption]
    names = list(CORRUPTIONS)
    made = {}
    for number, (name, array) in enumerate(examples.inputs.items()):
        made[name] = array
        if not suitable(array):
            continue
        random = np.random.default_rng([seed, names.index(corruption), severity, number])
        facts = Facts.of(array)
        found = change(array.astype(np.float32), facts, severity, random)
        if found is None:
            continue
        kept = np.clip(found, facts.low, facts.high)
        made[name] = (kept.round() if array.dtype.kind in "iu" else kept).astype(array.dtype)
    if all(made[name] is array for name, array in examples.inputs.items()):
        return None
    return Examples(made, examples.labels, examples.split)


def _noise(x: Array, facts: Facts, severity: int, random: np.random.Generator) -> Array | None:
    deviation = _NOISE[severity] * facts.deviation
    return x + np.float32(deviation) * random.standard_normal(x.shape, np.float32)


def _blur(x: Array, facts: Facts, severity: int, _: np.random.Generator) -> Array | None:
    from scipy import ndimage

    if not facts.spatial:
        return None
    if facts.series:
        (axis,) = facts.spatial
        return np.asarray(ndimage.uniform_filter1d(x, _AVERAGED[severity], axis, mode="nearest"))
    share, least = _BLUR[severity]
    sigma = max(least, share * min(x.shape[axis] for axis in facts.spatial))
    for axis in facts.spatial:
        x = np.asarray(ndimage.gaussian_filter1d(x, sigma, axis, mode="nearest"))
    return x


def _brightness(x: Array, facts: Facts, severity: int, random: np.random.Generator) -> Array | None:
    """Half of the examples brighter, half darker; as a sensor's gain and offset drift."""
    gain, offset = _BRIGHTNESS[severity]
    sign = random.choice(np.asarray([-1, 1], np.float32), len(x)).reshape(-1, *[1] * (x.ndim - 1))
    moved = (x - facts.low) * (1 + gain * sign) + offset * sign * (facts.high - facts.low)
    return np.asarray(moved + facts.low)


def _missing(x: Array, facts: Facts, severity: int, random: np.random.Generator) -> Array | None:
    """Pixels and samples become 0, features of tables their mean."""
    shape = [
        size if axis == 0 or axis in (facts.spatial or range(x.ndim)) else 1
        for axis, size in enumerate(x.shape)
    ]
    gone = random.random(shape, np.float32) < _MISSING[severity]
    return np.where(gone, np.float32(0) if facts.spatial else facts.means.astype(np.float32), x)


CORRUPTIONS: dict[str, Callable[[Array, Facts, int, np.random.Generator], Array | None]] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "missing": _missing,
}


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of space or time."""
    if len(shape) == _TABLE:
        return (1,) if shape[1] >= _SERIES else ()
    if len(shape) == _SEQUENCE:
        return (1, 2) if min(shape[1:]) >= _SIDE else (1,)
    if len(shape) in {_IMAGE, _VIDEO}:
        last = len(shape) - 1
        # Channels are few, or fewer than pixels on a side.
        if shape[1] <= _CHANNELS < shape[last] or shape[1] < min(shape[last], shape[last - 1]):
            return (last - 1, last)
        return (last - 2, last - 1)
    return ()
