"""scripts/soak: faults at random points for as long as one likes, then fuzzing.

PYTHONPATH=tests python -m faults --minutes 30 --seed 1 --fuzz 100000
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from faults.cases import FAULTS, measure_push, run_case
from faults.rig import Rig


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", choices=sorted(FAULTS), action="append")
    parser.add_argument(
        "--fuzz", type=int, default=100_000, help="inputs for all decoders together"
    )
    arguments = parser.parse_args()
    clean = soak(arguments.minutes * 60, arguments.seed, arguments.fault or sorted(FAULTS))
    if arguments.fuzz:
        from fuzz import run

        report = run(arguments.fuzz, arguments.seed)
        print(report)
        clean = clean and report.clean
    return 0 if clean else 1


def soak(seconds: float, seed: int, faults: list[str]) -> bool:
    """Strikes until the time is over; whether the books are clean."""
    chance = random.Random(seed)
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder, Rig.set_up(Path(folder)) as rig:
        nominal = measure_push(rig)
        number = 0
        while time.monotonic() < ends:
            number += 1
            fault = chance.choice(faults)
            point = chance.uniform(0, 1.05)
            shown = len(rig.books.blemishes)
            run_case(rig, fault, f"{number}", point * nominal, chance)
            print(f"{number:5} {fault:26} at {point:4.0%}: {rig.books}", flush=True)
            for blemish in rig.books.blemishes[shown:]:
                print(f"      {blemish}", flush=True)
        print(f"seed {seed}: {rig.books}")
        return rig.books.clean


if __name__ == "__main__":
    sys.exit(main())
