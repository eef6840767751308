"""`python -m edgeopt_agent.runtimes NAME`: imports one runtime and prints what it is, as JSON.

The agent asks this of a child process, because an import may be heavy, hang or die. The last line
on standard output is the answer: `{"implementation", "version", "providers"}` or `{"unavailable"}`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from edgeopt_agent import runtimes
from edgeopt_agent.errors import Unavailable


def main() -> None:
    """Answers for the runtime that the first argument names."""
    try:
        answer = asdict(runtimes.load(sys.argv[1]).info)
    except Unavailable as reason:
        answer = {"unavailable": str(reason)}
    print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
