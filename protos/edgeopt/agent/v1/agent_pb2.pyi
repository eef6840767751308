import datetime

from edgeopt.agent.v1 import benchmark_pb2 as _benchmark_pb2
from edgeopt.agent.v1 import device_pb2 as _device_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetDeviceRequest(_message.Message):
    __slots__ = ("refresh",)
    REFRESH_FIELD_NUMBER: _ClassVar[int]
    refresh: bool
    def __init__(self, refresh: bool = ...) -> None: ...

class GetDeviceResponse(_message.Message):
    __slots__ = ("device",)
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    device: _device_pb2.Device
    def __init__(self, device: _Optional[_Union[_device_pb2.Device, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("agent_version", "time", "queue", "lease", "problems", "unacknowledged_benchmarks", "storage_free_bytes", "certificate_expire_time")
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_BENCHMARKS_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    time: _timestamp_pb2.Timestamp
    queue: _containers.RepeatedCompositeFieldContainer[_benchmark_pb2.Benchmark]
    lease: Lease
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    unacknowledged_benchmarks: int
    storage_free_bytes: int
    certificate_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, agent_version: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queue: _Optional[_Iterable[_Union[_benchmark_pb2.Benchmark, _Mapping]]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., unacknowledged_benchmarks: _Optional[int] = ..., storage_free_bytes: _Optional[int] = ..., certificate_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("fencing_number", "holder", "purpose", "acquire_time", "remaining_ns")
    FENCING_NUMBER_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ACQUIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REMAINING_NS_FIELD_NUMBER: _ClassVar[int]
    fencing_number: int
    holder: str
    purpose: str
    acquire_time: _timestamp_pb2.Timestamp
    remaining_ns: int
    def __init__(self, fencing_number: _Optional[int] = ..., holder: _Optional[str] = ..., purpose: _Optional[str] = ..., acquire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., remaining_ns: _Optional[int] = ...) -> None: ...

class AcquireLeaseRequest(_message.Message):
    __slots__ = ("request_id", "purpose", "term_ns")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TERM_NS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    purpose: str
    term_ns: int
    def __init__(self, request_id: _Optional[str] = ..., purpose: _Optional[str] = ..., term_ns: _Optional[int] = ...) -> None: ...

class AcquireLeaseResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class RenewLeaseRequest(_message.Message):
    __slots__ = ("fencing_number", "term_ns")
    FENCING_NUMBER_FIELD_NUMBER: _ClassVar[int]
    TERM_NS_FIELD_NUMBER: _ClassVar[int]
    fencing_number: int
    term_ns: int
    def __init__(self, fencing_number: _Optional[int] = ..., term_ns: _Optional[int] = ...) -> None: ...

class RenewLeaseResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class ReleaseLeaseRequest(_message.Message):
    __slots__ = ("fencing_number", "force")
    FENCING_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    fencing_number: int
    force: bool
    def __init__(self, fencing_number: _Optional[int] = ..., force: bool = ...) -> None: ...

class ReleaseLeaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateBenchmarkRequest(_message.Message):
    __slots__ = ("request_id", "benchmark", "fencing_number", "wait_for_lease")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    FENCING_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_LEASE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    benchmark: _benchmark_pb2.Benchmark
    fencing_number: int
    wait_for_lease: bool
    def __init__(self, request_id: _Optional[str] = ..., benchmark: _Optional[_Union[_benchmark_pb2.Benchmark, _Mapping]] = ..., fencing_number: _Optional[int] = ..., wait_for_lease: bool = ...) -> None: ...

class CreateBenchmarkResponse(_message.Message):
    __slots__ = ("benchmark",)
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    benchmark: _benchmark_pb2.Benchmark
    def __init__(self, benchmark: _Optional[_Union[_benchmark_pb2.Benchmark, _Mapping]] = ...) -> None: ...

class GetBenchmarkRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetBenchmarkResponse(_message.Message):
    __slots__ = ("benchmark",)
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    benchmark: _benchmark_pb2.Benchmark
    def __init__(self, benchmark: _Optional[_Union[_benchmark_pb2.Benchmark, _Mapping]] = ...) -> None: ...

class ListBenchmarksRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBenchmarksResponse(_message.Message):
    __slots__ = ("benchmarks", "next_page_token")
    BENCHMARKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    benchmarks: _containers.RepeatedCompositeFieldContainer[_benchmark_pb2.Benchmark]
    next_page_token: str
    def __init__(self, benchmarks: _Optional[_Iterable[_Union[_benchmark_pb2.Benchmark, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelBenchmarkRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelBenchmarkResponse(_message.Message):
    __slots__ = ("benchmark",)
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    benchmark: _benchmark_pb2.Benchmark
    def __init__(self, benchmark: _Optional[_Union[_benchmark_pb2.Benchmark, _Mapping]] = ...) -> None: ...

class AcknowledgeBenchmarkRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AcknowledgeBenchmarkResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchBenchmarkRequest(_message.Message):
    __slots__ = ("name", "after_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_sequence: int
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchBenchmarkResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _benchmark_pb2.BenchmarkEvent
    def __init__(self, event: _Optional[_Union[_benchmark_pb2.BenchmarkEvent, _Mapping]] = ...) -> None: ...

class AnswerLookRequest(_message.Message):
    __slots__ = ("name", "launch", "answer")
    class Answer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ANSWER_UNSPECIFIED: _ClassVar[AnswerLookRequest.Answer]
        ANSWER_CONTINUE: _ClassVar[AnswerLookRequest.Answer]
        ANSWER_STOP: _ClassVar[AnswerLookRequest.Answer]
        ANSWER_REPEAT: _ClassVar[AnswerLookRequest.Answer]
    ANSWER_UNSPECIFIED: AnswerLookRequest.Answer
    ANSWER_CONTINUE: AnswerLookRequest.Answer
    ANSWER_STOP: AnswerLookRequest.Answer
    ANSWER_REPEAT: AnswerLookRequest.Answer
    NAME_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    name: str
    launch: int
    answer: AnswerLookRequest.Answer
    def __init__(self, name: _Optional[str] = ..., launch: _Optional[int] = ..., answer: _Optional[_Union[AnswerLookRequest.Answer, str]] = ...) -> None: ...

class AnswerLookResponse(_message.Message):
    __slots__ = ("heard",)
    HEARD_FIELD_NUMBER: _ClassVar[int]
    heard: bool
    def __init__(self, heard: bool = ...) -> None: ...

class WatchTelemetryRequest(_message.Message):
    __slots__ = ("interval_ns", "channels")
    INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    interval_ns: int
    channels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, interval_ns: _Optional[int] = ..., channels: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchTelemetryResponse(_message.Message):
    __slots__ = ("sample",)
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    sample: _device_pb2.SensorSample
    def __init__(self, sample: _Optional[_Union[_device_pb2.SensorSample, _Mapping]] = ...) -> None: ...
