"""A gate's policy: what a model must hold on which devices, as people write it in TOML.

    schema = "edgeopt.policy/1"
    [gate]
    error_rate = 0.05
    [[rule]]
    metric = "p95_latency_ms"
    max = 25
    tags = ["pi"]

docs/reference/policy.md has every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt_host.metrics import METRICS, Metric
from edgeopt_host.tomlfile import TomlFileError

SCHEMA = "edgeopt.policy/1"


@dataclass(frozen=True)
class Margin:
    """How much worse than the baseline is still good.

    `amount` is relative to the baseline (0.03), or for accuracy in points of a hundred (0.5).
    """

    amount: float
    points: bool = False

    def __str__(self) -> str:
        return f"{self.amount:g}pt" if self.points else f"{100 * self.amount:g}%"


@dataclass(frozen=True)
class Rule:
    """One metric's limit: exactly one of `max`, `min` and `max_regression` is set."""

    metric: str
    max: float | None = None
    min: float | None = None
    max_regression: Margin | None = None
    # Both empty: every device of the gate.
    tags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    required: bool = True
    line: int | None = None

    @property
    def measure(self) -> Metric:
        return METRICS[self.metric]

    @property
    def is_relative(self) -> bool:
        return self.max_regression is not None

    @property
    def condition(self) -> str:
        """The limit as it was written: "max 25 ms", "max_regression 3%"."""
        if self.max_regression is not None:
            return f"max_regression {self.max_regression}"
        unit = self.measure.unit
        side, limit = ("max", self.max) if self.max is not None else ("min", self.min)
        return f"{side} {limit:g} {unit}".rstrip()

    def applies_to(self, device: str, tags: Sequence[str]) -> bool:
        everywhere = not (self.tags or self.devices)
        return everywhere or device in self.devices or bool(set(self.tags) & set(tags))


@dataclass(frozen=True)
class Policy:
    """What [gate] says, and the rules in their order.

    Attributes:
        error_rate: how often, at most, a rule whose truth is at its margin gets a wrong verdict.
        budget_s: timed device seconds per device for what is compared with a baseline.
        absolute_budget_s: the same for absolute limits on latency and throughput.
        sustained_s: how long a device works for the `sustained_ratio`.
        cooldown_below_c: launches wait until the device is cooler; None: they do not.
        steady_clock: launches wait until the clock does not change any more.
        batch, streams, rate_hz: the load's shape; None: as the command line says.
    """

    rules: tuple[Rule, ...]
    error_rate: float = 0.05
    budget_s: float = 60.0
    absolute_budget_s: float = 180.0
    sustained_s: float = 600.0
    cooldown_below_c: float | None = None
    steady_clock: bool = False
    batch: int | None = None
    streams: int | None = None
    rate_hz: float | None = None


class PolicyError(TomlFileError):
    """A policy that is none."""

    lister = "edgeopt-host gate check"
