"""The policy that `gate init` writes: one that can be used, and that explains itself."""

from __future__ import annotations

TEXT = """\
# What a model must hold before it ships: edgeopt-host gate run THIS --candidate MODEL --baseline MODEL
# Every key: docs/reference/policy.md. Check after editing: edgeopt-host gate check THIS
# For an editor that knows JSON schemas: edgeopt-host gate schema > policy.schema.json, and this line first:
#   #:schema ./policy.schema.json
schema = "edgeopt.policy/1"

[gate]
# How often, at most, a rule whose truth lies exactly at its limit gets a wrong verdict.
error_rate = 0.05
# Seconds that a device may measure for rules against the baseline; most end much sooner.
budget_s = 60
# The same for limits on latency and throughput, which take longer: a device differs from minute to minute.
absolute_budget_s = 180
# Wait before each launch until the device is cooler than this, and until its clock is steady.
# cooldown_below_c = 55
# steady_clock = true
# The load: samples per inference, inferences at once, inferences per second. Left out: one after the other.
# batch = 1
# streams = 1
# rate_hz = 15

# No slower than the baseline by more than 3 %. The margin is what keeps noise from failing a gate.
[[rule]]
metric = "p50_latency_ms"
max_regression = "3%"

# The median hides the slow ones.
[[rule]]
metric = "p95_latency_ms"
max_regression = "5%"

[[rule]]
metric = "peak_memory_mb"
max_regression = "5%"

# Advisory: shown, and without a say in the whole verdict.
[[rule]]
metric = "size_mb"
max_regression = "10%"
required = false

# A limit of its own for some devices, by tag or name; it needs no baseline.
# [[rule]]
# metric = "p95_latency_ms"
# max = 25
# tags = ["pi"]

# Where more is better, it is min.
# [[rule]]
# metric = "throughput_per_s"
# min = 30
# devices = ["nano"]

# Points of accuracy on your labelled examples: gate run … --data FILE.npz
# [[rule]]
# metric = "accuracy"
# max_regression = "0.5pt"

# More metrics: p90_latency_ms, p99_latency_ms, mean_latency_ms, load_ms, first_inference_ms,
# model_memory_mb, energy_per_inference_mj, delegated_share, sustained_ratio.
"""
