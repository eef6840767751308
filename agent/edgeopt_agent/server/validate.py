"""What a request may hold. Errors name the field, what was seen and what is expected."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence, Sized
from operator import attrgetter
from pathlib import PurePosixPath

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent import runtimes
from edgeopt_agent.blobs import Digest
from edgeopt_agent.errors import InvalidArgument

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_LAUNCHES = 1000
# Each is a process with a model in it.
_MAX_SUBJECTS = 16
# It must fit into an answer, too.
_MAX_BENCHMARK_BYTES = 2**20
_MAX_DURATION_NS = 24 * 3600 * 10**9
_MAX_INFERENCES = 10_000_000
_MAX_THREADS = 1024
_MAX_SUBJECTS = 16
_MAX_STREAMS = 64
_MAX_BATCH = 65_536
_RATES_HZ = (0.001, 100_000.0)
_MAX_WINDOWS = 1000
_MAX_CELSIUS = 1000.0
_INT64 = 2**63 - 1
_MAX_FILES = 1000
_MAX_NAME = 255
_MAX_PURPOSE = 200
_MAX_ITEMS = 10_000
_MAX_PROVIDERS = 64
_MAX_OPTIONS = 256
_MAX_DIMENSIONS = 64
_MAX_VALUE = 4096
_MAX_PEM = 64 * 1024
_MAX_TOKEN = 128
_MAX_PAGE_TOKEN = 64
_BENCHMARK_NAME = re.compile(r"benchmarks/[A-Za-z0-9._-]{1,64}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_GRAPH_OPTIMIZATIONS = ("", "disabled", "basic", "extended", "all")


def request_id(value: str) -> None:
    if not _REQUEST_ID.fullmatch(value):
        _refuse("request_id", value, "1 to 64 letters, digits, dots, dashes or underscores")


def benchmark(value: benchmark_pb2.Benchmark) -> None:
    """Raises InvalidArgument when this agent cannot run it as it is written."""
    if value.ByteSize() > _MAX_BENCHMARK_BYTES:
        _refuse("benchmark", f"{value.ByteSize()} bytes", f"at most {_MAX_BENCHMARK_BYTES}")
    if not 1 <= len(value.subjects) <= _MAX_SUBJECTS:
        _refuse("subjects", len(value.subjects), f"1 to {_MAX_SUBJECTS} models")
    for subject in value.subjects:
        _subject(subject)
    _plan(value.plan)


def lease(purpose: str, term_ns: int) -> None:
    """What AcquireLease and RenewLease name."""
    _text("purpose", purpose, _MAX_PURPOSE)
    if not purpose.isprintable():
        _refuse("purpose", purpose, "one line of text")
    if not 10**9 <= term_ns <= _MAX_DURATION_NS:
        _refuse("term_ns", term_ns, f"{10**9} (a second) to {_MAX_DURATION_NS} (a day)")


def page(size: int, token: str) -> tuple[int, int]:
    """A list request's page size and offset."""
    if size < 0:
        _refuse("page_size", size, "0 (the default) or more")
    if token and not (token.isascii() and token.isdecimal() and len(token) <= _MAX_PAGE_TOKEN):
        _refuse("page_token", token, "what the page before this one gave")
    return min(size or 100, 1000), int(token or 0)


def benchmark_name(value: str) -> None:
    """Whatever names a benchmark."""
    if not _BENCHMARK_NAME.fullmatch(value):
        _refuse("name", value, "benchmarks/ID, as CreateBenchmark gave it")


def answer(value: int) -> None:
    """What AnswerLook says."""
    known = agent_pb2.AnswerLookRequest.Answer
    if value not in known.values() or value == known.ANSWER_UNSPECIFIED:
        _refuse("answer", value, "ANSWER_CONTINUE, ANSWER_STOP or ANSWER_REPEAT")


def at_least_zero(field: str, value: int) -> None:
    """Offsets, sequence and fencing numbers, intervals."""
    if value < 0:
        _refuse(field, value, "0 or more")


def count(field: str, items: Sized) -> None:
    """Lists that the agent goes through at once."""
    if len(items) > _MAX_ITEMS:
        _refuse(field, f"{len(items)} items", f"at most {_MAX_ITEMS}; ask in several calls")


def channels(values: Collection[str]) -> None:
    """Names of sensors' channels."""
    count("channels", values)
    for value in values:
        _text("channels", value, _MAX_NAME)


def token(value: str) -> None:
    """An enrolment token, right or wrong; it is not told again."""
    if len(value) > _MAX_TOKEN:
        _refuse("token", f"{len(value)} characters", f"at most {_MAX_TOKEN}")


def certificate(field: str, value: str) -> None:
    """A certificate's size and beginning; the rest is checked elsewhere."""
    if len(value) > _MAX_PEM:
        _refuse(field, f"{len(value)} characters", f"at most {_MAX_PEM}")
    if "-----BEGIN CERTIFICATE-----" not in value:
        _refuse(field, value[:40], "a certificate in PEM form")


def fingerprints(values: Collection[str]) -> None:
    """Of client certificates."""
    count("fingerprints", values)
    for value in values:
        if not _FINGERPRINT.fullmatch(value):
            _refuse("fingerprints", value, "64 lower-case hexadecimal digits each")


def _subject(subject: benchmark_pb2.Subject) -> None:
    if not 1 <= len(subject.files) <= _MAX_FILES:
        _refuse("files", len(subject.files), f"1 to {_MAX_FILES}: the model and its companions")
    for file in subject.files:
        _text("files.name", file.name, _MAX_NAME)
        path = PurePosixPath(file.name)
        inside = path.parts and not path.is_absolute() and ".." not in path.parts
        # Of bytes, to the file system.
        if not inside or len(file.name.encode()) > _MAX_NAME or "\0" in file.name:
            _refuse("files.name", file.name, "a relative name without '..'")
        Digest(file.digest.sha256, file.digest.size_bytes)
    paths = [PurePosixPath(file.name) for file in subject.files]
    folders = {parent for path in paths for parent in path.parents}
    if len(set(paths)) != len(paths) or folders.intersection(paths):
        names = [file.name for file in subject.files]
        _refuse("files.name", names, "names that differ, none of them another's folder")
    if subject.runtime not in runtimes.names():
        _refuse("runtime", subject.runtime, f"one of {', '.join(runtimes.names())}")
    if not 0 <= subject.threads <= _MAX_THREADS:
        _refuse("threads", subject.threads, f"0 (the default) to {_MAX_THREADS}")
    if subject.graph_optimization not in _GRAPH_OPTIMIZATIONS:
        _refuse(
            "graph_optimization", subject.graph_optimization, "disabled, basic, extended or all"
        )
    _text("quantized_engine", subject.quantized_engine, _MAX_NAME)
    _providers(subject.providers)
    _inputs(subject.inputs)


def _providers(providers: Sequence[benchmark_pb2.Provider]) -> None:
    if len(providers) > _MAX_PROVIDERS:
        _refuse("providers", f"{len(providers)} items", f"at most {_MAX_PROVIDERS}")
    for provider in providers:
        _text("providers.name", provider.name, _MAX_VALUE)
        if not provider.name:
            _refuse("providers.name", "", "an execution provider, or the path of a delegate")
        if len(provider.options) > _MAX_OPTIONS:
            _refuse(
                "providers.options", f"{len(provider.options)} items", f"at most {_MAX_OPTIONS}"
            )
        for key, value in provider.options.items():
            _text("providers.options", key, _MAX_NAME)
            _text("providers.options", value, _MAX_VALUE)


def _inputs(inputs: benchmark_pb2.InputSource) -> None:
    if inputs.HasField("file"):
        Digest(inputs.file.sha256, inputs.file.size_bytes)
    at_least_zero("inputs.seed", inputs.seed)
    for given in inputs.ranges:
        _text("inputs.ranges.input", given.input, _MAX_VALUE)
        if not given.low <= given.high:
            _refuse(
                "inputs.ranges", f"{given.low:g}:{given.high:g}", "a low end below the high end"
            )
    _sizes(inputs)


def _sizes(inputs: benchmark_pb2.InputSource) -> None:
    for field in ("dimensions", "shapes", "ranges"):
        if len(getattr(inputs, field)) > _MAX_FILES:
            seen = f"{len(getattr(inputs, field))} items"
            _refuse(f"inputs.{field}", seen, f"at most {_MAX_FILES}")
    for name in inputs.dimensions:
        _text("inputs.dimensions", name, _MAX_VALUE)
    for shape in inputs.shapes:
        _text("inputs.shapes.name", shape.name, _MAX_VALUE)
        _text("inputs.shapes.dtype", shape.dtype, _MAX_NAME)
        if len(shape.dimensions) > _MAX_DIMENSIONS:
            seen = f"{len(shape.dimensions)} dimensions"
            _refuse("inputs.shapes", seen, f"at most {_MAX_DIMENSIONS}")
    sizes = [*inputs.dimensions.values(), *(d for s in inputs.shapes for d in s.dimensions)]
    if any(size < 0 for size in sizes):
        _refuse("inputs", min(sizes), "sizes of 0 or more")


def _plan(plan: benchmark_pb2.Plan) -> None:
    bounds: dict[str, tuple[float, float]] = {
        "launches": (1, _MAX_LAUNCHES),
        "warmup_duration_ns": (0, _MAX_DURATION_NS),
        "warmup_inferences": (0, _MAX_INFERENCES),
        "duration_ns": (0, _MAX_DURATION_NS),
        "inferences": (1, _MAX_INFERENCES),
        "block_duration_ns": (0, _MAX_DURATION_NS),
        "block_inferences": (1, _MAX_INFERENCES),
        "timeout_ns": (1, _MAX_DURATION_NS),
        "batch": (0, _MAX_BATCH),
        "streams": (0, _MAX_STREAMS),
        "filler_duration_ns": (0, _MAX_DURATION_NS),
        "block_limit_ns": (0, _MAX_DURATION_NS),
        "settle_inferences": (0, _MAX_INFERENCES),
        "order_seed": (0, _INT64),
        "canary_interval_ns": (0, _MAX_DURATION_NS),
        "start.max_temperature_celsius": (0, _MAX_CELSIUS),
        "start.timeout_ns": (0, _MAX_DURATION_NS),
        "energy.windows": (0, _MAX_WINDOWS),
        "energy.idle_duration_ns": (0, _MAX_DURATION_NS),
        "energy.work_duration_ns": (0, _MAX_DURATION_NS),
    }
    for field, (low, high) in bounds.items():
        value = attrgetter(field)(plan)
        # NaN lies in no range.
        if not low <= value <= high:
            _refuse(
                f"plan.{field}", value, f"{low:g} to {high:g}" if high < _INT64 else "0 or more"
            )
    low, high = _RATES_HZ
    if plan.rate_hz != 0 and not low <= plan.rate_hz <= high:
        _refuse("plan.rate_hz", plan.rate_hz, f"0 (back to back), or {low:g} to {high:g}")
    channels(plan.energy.channels)
    if plan.HasField("evaluation_data"):
        Digest(plan.evaluation_data.sha256, plan.evaluation_data.size_bytes)


def _text(field: str, value: str, longest: int) -> None:
    if len(value) > longest:
        _refuse(field, value, f"at most {longest} characters")
    if "\0" in value:
        _refuse(field, value, "a text without a zero character")


def _refuse(field: str, seen: object, expected: str) -> None:
    raise InvalidArgument(
        "INVALID_FIELD", f"{field} is {str(seen)[:200]!r}; expected {expected}", field=field
    )
