"""One launch: a fresh process that opens a model, warms up, measures and reports.

The agent starts `python -m edgeopt_agent.worker` for every launch. The benchmark comes in on
standard input, events go out through a pipe of their own (events.py), and whatever a runtime
prints ends on standard error.
"""
