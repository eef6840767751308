"""What keeps a model that somebody sent from doing harm: docs/concepts/confinement.md.

The agent finds out which mechanisms its device has (`found`), says so as a fact, and starts every
worker with all of them: bubblewrap around the process, the rest by the worker itself (`Confinement`)
before it opens the model. A worker that cannot put in force what was found ends.
"""

from __future__ import annotations

from edgeopt_agent.confine import bubblewrap
from edgeopt_agent.confine._confinement import MECHANISMS, Confinement, ConfinementError
from edgeopt_agent.confine._found import Found, found
from edgeopt_agent.confine._limits import threads_of_this_user
from edgeopt_agent.confine._reach import without
from edgeopt_agent.confine._scheduling import PriorityError, Scheduling

__all__ = [
    "MECHANISMS",
    "Confinement",
    "ConfinementError",
    "Found",
    "PriorityError",
    "Scheduling",
    "bubblewrap",
    "found",
    "threads_of_this_user",
    "without",
]
