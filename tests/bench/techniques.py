"""What each technique does to size, accuracy and latency: one table, and whether floors are kept.

Nets that learnt Fashion-MNIST (tests/nets.py), judged on its 10,000 test pictures, and models that others
trained. Everything goes through `edgeopt_host.optimize`, as for users; latencies of all models of a net are
taken in turns, in one benchmark of this machine. Fails when a floor is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import technique_nets, technique_real, technique_run
from bench.technique_nets import GROUPS, Group
from bench.technique_run import Row

Promise = tuple[str, bool, str]
_REAL = "real"


def floors(rows: Sequence[Row]) -> Iterator[Promise]:
    """Each floor, whether every seed keeps it, and the worst that was seen."""
    for group in (group for groups in GROUPS.values() for group in groups):
        for branch in group.branches:
            of = [
                row
                for row in rows
                if (row.framework, row.net, row.branch) == (group.framework, group.net, branch.name)
            ]
            if branch.floor is not None and of:
                yield _floor(f"{group.framework} {group.net}: {branch.name}", branch.floor, of)


def _floor(name: str, floor: technique_nets.Floor, rows: Sequence[Row]) -> Promise:
    limit = "" if floor.drop_pt is None else f" at ≤ {floor.drop_pt} pt"
    promised = f"{name} ÷ {floor.smaller}{limit}"
    if failed := [row.error for row in rows if row.error]:
        return promised, False, failed[0]
    smaller = min(row.smaller or 0.0 for row in rows)
    drops = [row.drop_pt[0] for row in rows if row.drop_pt]
    if len(drops) != len(rows):
        return promised, False, "no accuracy"
    kept = smaller >= floor.smaller and (floor.drop_pt is None or max(drops) <= floor.drop_pt)
    each = ", ".join(f"{drop:.2f}" for drop in drops)
    return promised, kept, f"÷ {smaller:.2f}; drop of each seed {each} pt"


def repeats(rows: Sequence[Row]) -> Iterator[Promise]:
    """Whether what was made twice was the same twice."""
    of = [row for row in rows if row.repeats is not None]
    if of:
        differ = [f"{row.framework} {row.net} {row.branch}" for row in of if not row.repeats]
        seen = f"{len(of) - len(differ)} of {len(of)} models"
        told = f"{seen}; not {', '.join(differ)}" if differ else seen
        yield "the same recipe and seed give the same digest", not differ, told


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| runtime | net | made by | seed | size | ÷ | accuracy | drop (95 %) | p50 | of float's | made in |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.framework, row.net, row.branch, str(row.seed)]
        if row.error:
            lines.append(f"| {' | '.join(cells)} | {row.error} |  |  |  |  |  |  |")
            continue
        cells += [
            "" if row.size_bytes is None else f"{row.size_bytes / 1000:,.1f} kB",
            "" if row.smaller is None else f"{row.smaller:.2f}",
            "" if row.accuracy is None else f"{row.accuracy:.2%}",
            "" if row.drop_pt is None else _interval(row.drop_pt, " pt"),
            "" if row.p50_ms is None else f"{row.p50_ms:.3f} ms",
            "" if row.latency_ratio is None else _interval(row.latency_ratio, ""),
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(values: Sequence[float], unit: str) -> str:
    value, low, high = values
    return f"{value:.2f}{unit} ({low:.2f} to {high:.2f})"


def _chosen(only: str | None) -> list[tuple[str, Group]]:
    kinds = {**GROUPS, _REAL: technique_real.groups()}
    return [(kind, group) for kind, of in kinds.items() if only in {None, kind} for group in of]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="nets trained and recipes run")
    parser.add_argument("--only", choices=[*GROUPS, _REAL])
    parser.add_argument("--net", default="", help="part of a net's name")
    parser.add_argument("--once", action="store_true", help="do not make anything twice")
    parser.add_argument("--out", type=Path, default=Path("build/techniques"), help="folder")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with technique_run.home() as folder:
        for kind, group in _chosen(arguments.only):
            if arguments.net not in group.net:
                continue
            for seed in range(1 if kind == _REAL else arguments.seeds):
                begun = time.monotonic()
                made = technique_run.rows(group, seed, folder / str(len(rows)))
                if seed == 0 and not arguments.once:
                    technique_run.repeat(group, seed, made)
                rows += made
                print(f"{table(made)}\n{time.monotonic() - begun:.0f} s", flush=True)
                for row in made:
                    for warning in row.warnings:
                        print(f"{row.net}, {row.branch}: {warning}")
                print(flush=True)
        promises = [*floors(rows), *technique_real.promises(rows), *repeats(rows)]
    verdicts = "\n".join(
        f"| {name} | {'kept' if kept else 'MISSED'} | {seen} |" for name, kept, seen in promises
    )
    told = f"{table(rows)}\n\n| promised | | seen |\n|---|---|---|\n{verdicts}\n"
    print(told)
    stem = arguments.out / f"techniques{f'-{arguments.only}' if arguments.only else ''}"
    stem.with_suffix(".md").write_text(told, encoding="utf-8")
    technique_run.write(
        stem.with_suffix(".json"),
        {
            "schema": "edgeopt.bench-techniques/1",
            "seeds": arguments.seeds,
            "load": os.getloadavg()[0],
            "rows": [row.document() for row in rows],
            "promises": [
                {"promised": name, "kept": kept, "seen": seen} for name, kept, seen in promises
            ],
        },
    )
    sys.exit(any(not kept for _, kept, _ in promises))


if __name__ == "__main__":
    main()
