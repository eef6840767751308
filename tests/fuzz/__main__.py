"""`PYTHONPATH=tests python -m fuzz --examples 100000 --seed 1`: exit code 1 when something was found."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.engine import Outcome, fuzz
from fuzz.target import Target
from fuzz.targets import TARGETS


@dataclass
class Report:
    """What came of all targets."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    # By target: the smallest input that shows the finding.
    saved: dict[str, Path] = field(default_factory=dict)

    @property
    def findings(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.uncaught is not None]

    def __str__(self) -> str:
        inputs, accepted, refused = (
            sum(getattr(outcome, name) for outcome in self.outcomes)
            for name in ("inputs", "accepted", "refused")
        )
        return (
            f"{inputs} inputs, {accepted} accepted, {refused} refused, {len(self.findings)} uncaught "
            f"(seed {self.seed})"
        )


def run(total_examples: int, seed: int, targets: Mapping[str, Target] = TARGETS) -> Report:
    """Fuzzes all targets, and prints a line for each; slow ones get a smaller share."""
    report = Report(seed)
    shares = sum(1 / target.cost for target in targets.values())
    for number, target in enumerate(targets.values()):
        examples = -(-total_examples // (shares * target.cost))
        outcome = fuzz(target, int(examples), seed * 1000 + number)
        report.outcomes.append(outcome)
        _say(_line(outcome))
        if outcome.uncaught is not None:
            report.saved[target.name] = _save(outcome)
            _say(f"  {outcome.uncaught}\n  the input: {report.saved[target.name]}")
    return report


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.target:20} {outcome.inputs:7} inputs {outcome.accepted:7} accepted "
        f"{outcome.refused:7} refused {int(outcome.uncaught is not None)} uncaught "
        f"{outcome.seconds:6.1f} s"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _save(outcome: Outcome) -> Path:
    value = outcome.uncaught.value if outcome.uncaught else None
    with tempfile.NamedTemporaryFile(
        prefix=f"edgeopt-fuzz-{outcome.target}-", suffix=".input", delete=False
    ) as file:
        file.write(value if isinstance(value, bytes) else repr(value).encode("utf-8", "replace"))
    return Path(file.name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=None, help="which inputs; by default, others")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="by default, all")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    targets = {name: TARGETS[name] for name in arguments.targets or TARGETS}
    report = run(arguments.examples, seed, targets)
    _say(str(report))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
