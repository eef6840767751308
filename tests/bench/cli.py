"""How long `edgeopt-host --help` takes, beside an interpreter that does nothing, and what it imports."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time

HEAVY = ("numpy", "grpc", "rich", "sqlalchemy", "scipy", "onnx", "google.protobuf", "alembic")


def main() -> None:
    host = shutil.which("edgeopt-host", path=str(sys.prefix) + "/bin") or "edgeopt-host"
    commands = {
        "edgeopt-host --help": [host, "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(20):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(
            f"{name:22} median {1000 * statistics.median(values):.0f} ms, highest {1000 * max(values):.0f} ms"
        )
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", host, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    heavy = [name for name in HEAVY if f" {name}\n" in imported]
    print(f"heavy imports behind it: {', '.join(heavy) or 'none'}")
    sys.exit(bool(heavy) or statistics.median(seconds["edgeopt-host --help"]) > 0.5)


if __name__ == "__main__":
    main()
