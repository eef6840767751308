"""What a request may hold. Errors name the field, what was seen and what is expected."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import runtimes
from edgeopt_agent.blobs import Digest
from edgeopt_agent.errors import InvalidArgument

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_LAUNCHES = 1000
_MAX_DURATION_NS = 24 * 3600 * 10**9
_MAX_INFERENCES = 10_000_000
_MAX_THREADS = 1024
_MAX_FILES = 1000
_MAX_NAME = 255
_MAX_PURPOSE = 200
_GRAPH_OPTIMIZATIONS = ("", "disabled", "basic", "extended", "all")


def request_id(value: str) -> None:
    if not _REQUEST_ID.fullmatch(value):
        _refuse("request_id", value, "1 to 64 letters, digits, dots, dashes or underscores")


def benchmark(value: benchmark_pb2.Benchmark) -> None:
    """Raises InvalidArgument when this agent cannot run it as it is written."""
    if len(value.subjects) != 1:
        _refuse(
            "subjects",
            len(value.subjects),
            "exactly one: this agent measures one subject at a time",
        )
    _subject(value.subjects[0])
    _plan(value.plan)


def lease(purpose: str, term_ns: int) -> None:
    """What AcquireLease and RenewLease name."""
    if len(purpose) > _MAX_PURPOSE:
        _refuse("purpose", purpose, f"at most {_MAX_PURPOSE} characters")
    if not 10**9 <= term_ns <= _MAX_DURATION_NS:
        _refuse("term_ns", term_ns, f"{10**9} (a second) to {_MAX_DURATION_NS} (a day)")


def page(size: int, token: str) -> tuple[int, int]:
    """A list request's page size and offset."""
    if size < 0:
        _refuse("page_size", size, "0 (the default) or more")
    if token and not token.isdecimal():
        _refuse("page_token", token, "what the page before this one gave")
    return min(size or 100, 1000), int(token or 0)


def _subject(subject: benchmark_pb2.Subject) -> None:
    if not 1 <= len(subject.files) <= _MAX_FILES:
        _refuse("files", len(subject.files), f"1 to {_MAX_FILES}: the model and its companions")
    for file in subject.files:
        path = PurePosixPath(file.name)
        inside = file.name and not path.is_absolute() and ".." not in path.parts
        if not inside or len(file.name) > _MAX_NAME or "\0" in file.name:
            _refuse("files.name", file.name, "a relative name without '..'")
        Digest(file.digest.sha256, file.digest.size_bytes)
    if len({file.name for file in subject.files}) != len(subject.files):
        _refuse("files.name", [file.name for file in subject.files], "names that differ")
    if subject.runtime not in runtimes.names():
        _refuse("runtime", subject.runtime, f"one of {', '.join(runtimes.names())}")
    if not 0 <= subject.threads <= _MAX_THREADS:
        _refuse("threads", subject.threads, f"0 (the default) to {_MAX_THREADS}")
    if subject.graph_optimization not in _GRAPH_OPTIMIZATIONS:
        _refuse(
            "graph_optimization", subject.graph_optimization, "disabled, basic, extended or all"
        )
    _inputs(subject.inputs)


def _inputs(inputs: benchmark_pb2.InputSource) -> None:
    if inputs.HasField("file"):
        Digest(inputs.file.sha256, inputs.file.size_bytes)
    if inputs.seed < 0:
        _refuse("inputs.seed", inputs.seed, "0 or more")
    sizes = [*inputs.dimensions.values(), *(d for s in inputs.shapes for d in s.dimensions)]
    if any(size < 0 for size in sizes):
        _refuse("inputs", min(sizes), "sizes of 0 or more")
    for given in inputs.ranges:
        if not given.low <= given.high:
            _refuse(
                "inputs.ranges", f"{given.low:g}:{given.high:g}", "a low end below the high end"
            )


def _plan(plan: benchmark_pb2.Plan) -> None:
    bounds = {
        "launches": (1, _MAX_LAUNCHES),
        "warmup_duration_ns": (0, _MAX_DURATION_NS),
        "warmup_inferences": (0, _MAX_INFERENCES),
        "duration_ns": (0, _MAX_DURATION_NS),
        "inferences": (1, _MAX_INFERENCES),
        "block_duration_ns": (0, _MAX_DURATION_NS),
        "block_inferences": (1, _MAX_INFERENCES),
        "timeout_ns": (1, _MAX_DURATION_NS),
    }
    for field, (low, high) in bounds.items():
        value = getattr(plan, field)
        if not low <= value <= high:
            _refuse(f"plan.{field}", value, f"{low} to {high}")


def _refuse(field: str, seen: object, expected: str) -> None:
    raise InvalidArgument(
        "INVALID_FIELD", f"{field} is {str(seen)[:200]!r}; expected {expected}", field=field
    )
