import datetime

from edgeopt.agent.v1 import blob_pb2 as _blob_pb2
from edgeopt.agent.v1 import device_pb2 as _device_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Benchmark(_message.Message):
    __slots__ = ("name", "subjects", "plan", "state", "failure", "create_time", "start_time", "end_time", "request_id", "holder", "fencing_number", "attempt")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Benchmark.State]
        STATE_QUEUED: _ClassVar[Benchmark.State]
        STATE_RUNNING: _ClassVar[Benchmark.State]
        STATE_SUCCEEDED: _ClassVar[Benchmark.State]
        STATE_FAILED: _ClassVar[Benchmark.State]
        STATE_CANCELLED: _ClassVar[Benchmark.State]
    STATE_UNSPECIFIED: Benchmark.State
    STATE_QUEUED: Benchmark.State
    STATE_RUNNING: Benchmark.State
    STATE_SUCCEEDED: Benchmark.State
    STATE_FAILED: Benchmark.State
    STATE_CANCELLED: Benchmark.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    FENCING_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    name: str
    subjects: _containers.RepeatedCompositeFieldContainer[Subject]
    plan: Plan
    state: Benchmark.State
    failure: Failure
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    request_id: str
    holder: str
    fencing_number: int
    attempt: int
    def __init__(self, name: _Optional[str] = ..., subjects: _Optional[_Iterable[_Union[Subject, _Mapping]]] = ..., plan: _Optional[_Union[Plan, _Mapping]] = ..., state: _Optional[_Union[Benchmark.State, str]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ..., holder: _Optional[str] = ..., fencing_number: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("files", "runtime", "threads", "providers", "disable_xnnpack", "graph_optimization", "quantized_engine", "inputs")
    FILES_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    DISABLE_XNNPACK_FIELD_NUMBER: _ClassVar[int]
    GRAPH_OPTIMIZATION_FIELD_NUMBER: _ClassVar[int]
    QUANTIZED_ENGINE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[File]
    runtime: str
    threads: int
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    disable_xnnpack: bool
    graph_optimization: str
    quantized_engine: str
    inputs: InputSource
    def __init__(self, files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., runtime: _Optional[str] = ..., threads: _Optional[int] = ..., providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ..., disable_xnnpack: bool = ..., graph_optimization: _Optional[str] = ..., quantized_engine: _Optional[str] = ..., inputs: _Optional[_Union[InputSource, _Mapping]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("name", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: _blob_pb2.Digest
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[_Union[_blob_pb2.Digest, _Mapping]] = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("name", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    options: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class InputSource(_message.Message):
    __slots__ = ("file", "dimensions", "shapes", "ranges", "seed")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FILE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    file: _blob_pb2.Digest
    dimensions: _containers.ScalarMap[str, int]
    shapes: _containers.RepeatedCompositeFieldContainer[TensorShape]
    ranges: _containers.RepeatedCompositeFieldContainer[ValueRange]
    seed: int
    def __init__(self, file: _Optional[_Union[_blob_pb2.Digest, _Mapping]] = ..., dimensions: _Optional[_Mapping[str, int]] = ..., shapes: _Optional[_Iterable[_Union[TensorShape, _Mapping]]] = ..., ranges: _Optional[_Iterable[_Union[ValueRange, _Mapping]]] = ..., seed: _Optional[int] = ...) -> None: ...

class TensorShape(_message.Message):
    __slots__ = ("name", "dimensions", "dtype")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimensions: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    def __init__(self, name: _Optional[str] = ..., dimensions: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ...) -> None: ...

class ValueRange(_message.Message):
    __slots__ = ("input", "low", "high")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    input: str
    low: float
    high: float
    def __init__(self, input: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("launches", "warmup_duration_ns", "warmup_inferences", "duration_ns", "inferences", "block_duration_ns", "block_inferences", "timeout_ns", "profile", "outputs", "rerun", "batch", "streams", "rate_hz", "filler_duration_ns", "block_limit_ns", "settle_inferences", "order_seed", "canary_interval_ns", "start", "looks", "energy", "evaluation_data")
    LAUNCHES_FIELD_NUMBER: _ClassVar[int]
    WARMUP_DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_INFERENCES_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    BLOCK_DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_INFERENCES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    RERUN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    FILLER_DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_LIMIT_NS_FIELD_NUMBER: _ClassVar[int]
    SETTLE_INFERENCES_FIELD_NUMBER: _ClassVar[int]
    ORDER_SEED_FIELD_NUMBER: _ClassVar[int]
    CANARY_INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    LOOKS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_DATA_FIELD_NUMBER: _ClassVar[int]
    launches: int
    warmup_duration_ns: int
    warmup_inferences: int
    duration_ns: int
    inferences: int
    block_duration_ns: int
    block_inferences: int
    timeout_ns: int
    profile: bool
    outputs: bool
    rerun: bool
    batch: int
    streams: int
    rate_hz: float
    filler_duration_ns: int
    block_limit_ns: int
    settle_inferences: int
    order_seed: int
    canary_interval_ns: int
    start: StartCondition
    looks: bool
    energy: EnergyPlan
    evaluation_data: _blob_pb2.Digest
    def __init__(self, launches: _Optional[int] = ..., warmup_duration_ns: _Optional[int] = ..., warmup_inferences: _Optional[int] = ..., duration_ns: _Optional[int] = ..., inferences: _Optional[int] = ..., block_duration_ns: _Optional[int] = ..., block_inferences: _Optional[int] = ..., timeout_ns: _Optional[int] = ..., profile: bool = ..., outputs: bool = ..., rerun: bool = ..., batch: _Optional[int] = ..., streams: _Optional[int] = ..., rate_hz: _Optional[float] = ..., filler_duration_ns: _Optional[int] = ..., block_limit_ns: _Optional[int] = ..., settle_inferences: _Optional[int] = ..., order_seed: _Optional[int] = ..., canary_interval_ns: _Optional[int] = ..., start: _Optional[_Union[StartCondition, _Mapping]] = ..., looks: bool = ..., energy: _Optional[_Union[EnergyPlan, _Mapping]] = ..., evaluation_data: _Optional[_Union[_blob_pb2.Digest, _Mapping]] = ...) -> None: ...

class StartCondition(_message.Message):
    __slots__ = ("max_temperature_celsius", "steady_clock", "not_throttled", "timeout_ns")
    MAX_TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    STEADY_CLOCK_FIELD_NUMBER: _ClassVar[int]
    NOT_THROTTLED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NS_FIELD_NUMBER: _ClassVar[int]
    max_temperature_celsius: float
    steady_clock: bool
    not_throttled: bool
    timeout_ns: int
    def __init__(self, max_temperature_celsius: _Optional[float] = ..., steady_clock: bool = ..., not_throttled: bool = ..., timeout_ns: _Optional[int] = ...) -> None: ...

class EnergyPlan(_message.Message):
    __slots__ = ("windows", "idle_duration_ns", "work_duration_ns", "channels")
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    IDLE_DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    WORK_DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    windows: int
    idle_duration_ns: int
    work_duration_ns: int
    channels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, windows: _Optional[int] = ..., idle_duration_ns: _Optional[int] = ..., work_duration_ns: _Optional[int] = ..., channels: _Optional[_Iterable[str]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "message", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class BenchmarkEvent(_message.Message):
    __slots__ = ("sequence", "launch", "subject", "benchmark", "progress", "execution", "samples", "state", "result", "profile", "outputs", "warning", "look", "energy", "predictions", "turn")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    LOOK_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    launch: int
    subject: int
    benchmark: Benchmark
    progress: Progress
    execution: Execution
    samples: Samples
    state: StateReadings
    result: LaunchResult
    profile: Profile
    outputs: Outputs
    warning: BenchmarkWarning
    look: Look
    energy: EnergyReadings
    predictions: Predictions
    turn: Turn
    def __init__(self, sequence: _Optional[int] = ..., launch: _Optional[int] = ..., subject: _Optional[int] = ..., benchmark: _Optional[_Union[Benchmark, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ..., samples: _Optional[_Union[Samples, _Mapping]] = ..., state: _Optional[_Union[StateReadings, _Mapping]] = ..., result: _Optional[_Union[LaunchResult, _Mapping]] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., outputs: _Optional[_Union[Outputs, _Mapping]] = ..., warning: _Optional[_Union[BenchmarkWarning, _Mapping]] = ..., look: _Optional[_Union[Look, _Mapping]] = ..., energy: _Optional[_Union[EnergyReadings, _Mapping]] = ..., predictions: _Optional[_Union[Predictions, _Mapping]] = ..., turn: _Optional[_Union[Turn, _Mapping]] = ...) -> None: ...

class Look(_message.Message):
    __slots__ = ("launch", "timed_ns")
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    TIMED_NS_FIELD_NUMBER: _ClassVar[int]
    launch: int
    timed_ns: int
    def __init__(self, launch: _Optional[int] = ..., timed_ns: _Optional[int] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("timed_ns", "inferences")
    TIMED_NS_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    timed_ns: int
    inferences: int
    def __init__(self, timed_ns: _Optional[int] = ..., inferences: _Optional[int] = ...) -> None: ...

class EnergyReadings(_message.Message):
    __slots__ = ("time_ns", "channels", "windows", "unavailable_reason")
    class Channel(_message.Message):
        __slots__ = ("name", "values")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VALUES_FIELD_NUMBER: _ClassVar[int]
        name: str
        values: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...
    class Window(_message.Message):
        __slots__ = ("start_time_ns", "end_time_ns", "inferences")
        START_TIME_NS_FIELD_NUMBER: _ClassVar[int]
        END_TIME_NS_FIELD_NUMBER: _ClassVar[int]
        INFERENCES_FIELD_NUMBER: _ClassVar[int]
        start_time_ns: int
        end_time_ns: int
        inferences: int
        def __init__(self, start_time_ns: _Optional[int] = ..., end_time_ns: _Optional[int] = ..., inferences: _Optional[int] = ...) -> None: ...
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    time_ns: _containers.RepeatedScalarFieldContainer[int]
    channels: _containers.RepeatedCompositeFieldContainer[EnergyReadings.Channel]
    windows: _containers.RepeatedCompositeFieldContainer[EnergyReadings.Window]
    unavailable_reason: str
    def __init__(self, time_ns: _Optional[_Iterable[int]] = ..., channels: _Optional[_Iterable[_Union[EnergyReadings.Channel, _Mapping]]] = ..., windows: _Optional[_Iterable[_Union[EnergyReadings.Window, _Mapping]]] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Predictions(_message.Message):
    __slots__ = ("file", "examples", "unavailable_reason")
    FILE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    file: _blob_pb2.Digest
    examples: int
    unavailable_reason: str
    def __init__(self, file: _Optional[_Union[_blob_pb2.Digest, _Mapping]] = ..., examples: _Optional[int] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "inferences", "fraction", "ahead", "lease_holder", "lease_remaining_ns", "temperature_celsius", "condition")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[Progress.Phase]
        PHASE_LOADING: _ClassVar[Progress.Phase]
        PHASE_WARMING_UP: _ClassVar[Progress.Phase]
        PHASE_MEASURING: _ClassVar[Progress.Phase]
        PHASE_PROFILING: _ClassVar[Progress.Phase]
        PHASE_WAITING: _ClassVar[Progress.Phase]
        PHASE_COOLING: _ClassVar[Progress.Phase]
        PHASE_EVALUATING: _ClassVar[Progress.Phase]
        PHASE_SAMPLING_POWER: _ClassVar[Progress.Phase]
        PHASE_LOOKING: _ClassVar[Progress.Phase]
    PHASE_UNSPECIFIED: Progress.Phase
    PHASE_LOADING: Progress.Phase
    PHASE_WARMING_UP: Progress.Phase
    PHASE_MEASURING: Progress.Phase
    PHASE_PROFILING: Progress.Phase
    PHASE_WAITING: Progress.Phase
    PHASE_COOLING: Progress.Phase
    PHASE_EVALUATING: Progress.Phase
    PHASE_SAMPLING_POWER: Progress.Phase
    PHASE_LOOKING: Progress.Phase
    PHASE_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    LEASE_HOLDER_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_NS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    phase: Progress.Phase
    inferences: int
    fraction: float
    ahead: int
    lease_holder: str
    lease_remaining_ns: int
    temperature_celsius: float
    condition: str
    def __init__(self, phase: _Optional[_Union[Progress.Phase, str]] = ..., inferences: _Optional[int] = ..., fraction: _Optional[float] = ..., ahead: _Optional[int] = ..., lease_holder: _Optional[str] = ..., lease_remaining_ns: _Optional[int] = ..., temperature_celsius: _Optional[float] = ..., condition: _Optional[str] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("implementation", "version", "threads", "requested_provider", "actual_provider", "delegated_share", "partitions", "quantized_engine", "inputs", "outputs")
    IMPLEMENTATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DELEGATED_SHARE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    QUANTIZED_ENGINE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    implementation: str
    version: str
    threads: int
    requested_provider: str
    actual_provider: str
    delegated_share: float
    partitions: int
    quantized_engine: str
    inputs: _containers.RepeatedCompositeFieldContainer[TensorShape]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorShape]
    def __init__(self, implementation: _Optional[str] = ..., version: _Optional[str] = ..., threads: _Optional[int] = ..., requested_provider: _Optional[str] = ..., actual_provider: _Optional[str] = ..., delegated_share: _Optional[float] = ..., partitions: _Optional[int] = ..., quantized_engine: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[TensorShape, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorShape, _Mapping]]] = ...) -> None: ...

class Samples(_message.Message):
    __slots__ = ("blocks",)
    class Block(_message.Message):
        __slots__ = ("start_time_ns", "latency_ns", "duration_ns", "cpu_ns", "round", "stream_samples")
        START_TIME_NS_FIELD_NUMBER: _ClassVar[int]
        LATENCY_NS_FIELD_NUMBER: _ClassVar[int]
        DURATION_NS_FIELD_NUMBER: _ClassVar[int]
        CPU_NS_FIELD_NUMBER: _ClassVar[int]
        ROUND_FIELD_NUMBER: _ClassVar[int]
        STREAM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
        start_time_ns: int
        latency_ns: _containers.RepeatedScalarFieldContainer[int]
        duration_ns: int
        cpu_ns: int
        round: int
        stream_samples: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, start_time_ns: _Optional[int] = ..., latency_ns: _Optional[_Iterable[int]] = ..., duration_ns: _Optional[int] = ..., cpu_ns: _Optional[int] = ..., round: _Optional[int] = ..., stream_samples: _Optional[_Iterable[int]] = ...) -> None: ...
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedCompositeFieldContainer[Samples.Block]
    def __init__(self, blocks: _Optional[_Iterable[_Union[Samples.Block, _Mapping]]] = ...) -> None: ...

class StateReadings(_message.Message):
    __slots__ = ("readings",)
    READINGS_FIELD_NUMBER: _ClassVar[int]
    readings: _containers.RepeatedCompositeFieldContainer[StateReading]
    def __init__(self, readings: _Optional[_Iterable[_Union[StateReading, _Mapping]]] = ...) -> None: ...

class StateReading(_message.Message):
    __slots__ = ("moment", "sensors", "cpu_wait_ns", "thread_cpu_ns", "canary_ns", "runnable", "steal_ns")
    class Moment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MOMENT_UNSPECIFIED: _ClassVar[StateReading.Moment]
        MOMENT_START: _ClassVar[StateReading.Moment]
        MOMENT_BETWEEN_BLOCKS: _ClassVar[StateReading.Moment]
        MOMENT_END: _ClassVar[StateReading.Moment]
    MOMENT_UNSPECIFIED: StateReading.Moment
    MOMENT_START: StateReading.Moment
    MOMENT_BETWEEN_BLOCKS: StateReading.Moment
    MOMENT_END: StateReading.Moment
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    CPU_WAIT_NS_FIELD_NUMBER: _ClassVar[int]
    THREAD_CPU_NS_FIELD_NUMBER: _ClassVar[int]
    CANARY_NS_FIELD_NUMBER: _ClassVar[int]
    RUNNABLE_FIELD_NUMBER: _ClassVar[int]
    STEAL_NS_FIELD_NUMBER: _ClassVar[int]
    moment: StateReading.Moment
    sensors: _device_pb2.SensorSample
    cpu_wait_ns: int
    thread_cpu_ns: int
    canary_ns: int
    runnable: int
    steal_ns: int
    def __init__(self, moment: _Optional[_Union[StateReading.Moment, str]] = ..., sensors: _Optional[_Union[_device_pb2.SensorSample, _Mapping]] = ..., cpu_wait_ns: _Optional[int] = ..., thread_cpu_ns: _Optional[int] = ..., canary_ns: _Optional[int] = ..., runnable: _Optional[int] = ..., steal_ns: _Optional[int] = ...) -> None: ...

class LaunchResult(_message.Message):
    __slots__ = ("load_ns", "first_inference_ns", "warmup_inferences", "harness_overhead_ns", "memory", "timed_ns", "stream_rss_bytes")
    LOAD_NS_FIELD_NUMBER: _ClassVar[int]
    FIRST_INFERENCE_NS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_INFERENCES_FIELD_NUMBER: _ClassVar[int]
    HARNESS_OVERHEAD_NS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    TIMED_NS_FIELD_NUMBER: _ClassVar[int]
    STREAM_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    load_ns: int
    first_inference_ns: int
    warmup_inferences: int
    harness_overhead_ns: int
    memory: MemoryReading
    timed_ns: int
    stream_rss_bytes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, load_ns: _Optional[int] = ..., first_inference_ns: _Optional[int] = ..., warmup_inferences: _Optional[int] = ..., harness_overhead_ns: _Optional[int] = ..., memory: _Optional[_Union[MemoryReading, _Mapping]] = ..., timed_ns: _Optional[int] = ..., stream_rss_bytes: _Optional[_Iterable[int]] = ...) -> None: ...

class MemoryReading(_message.Message):
    __slots__ = ("peak_rss_bytes", "runtime_rss_bytes", "anonymous_bytes", "file_bytes")
    PEAK_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANONYMOUS_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    peak_rss_bytes: int
    runtime_rss_bytes: int
    anonymous_bytes: int
    file_bytes: int
    def __init__(self, peak_rss_bytes: _Optional[int] = ..., runtime_rss_bytes: _Optional[int] = ..., anonymous_bytes: _Optional[int] = ..., file_bytes: _Optional[int] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("operators", "inferences", "unavailable_reason")
    class Operator(_message.Message):
        __slots__ = ("name", "type", "duration_ns", "calls", "provider")
        NAME_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        DURATION_NS_FIELD_NUMBER: _ClassVar[int]
        CALLS_FIELD_NUMBER: _ClassVar[int]
        PROVIDER_FIELD_NUMBER: _ClassVar[int]
        name: str
        type: str
        duration_ns: int
        calls: int
        provider: str
        def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., duration_ns: _Optional[int] = ..., calls: _Optional[int] = ..., provider: _Optional[str] = ...) -> None: ...
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    operators: _containers.RepeatedCompositeFieldContainer[Profile.Operator]
    inferences: int
    unavailable_reason: str
    def __init__(self, operators: _Optional[_Iterable[_Union[Profile.Operator, _Mapping]]] = ..., inferences: _Optional[int] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Outputs(_message.Message):
    __slots__ = ("file", "left_out")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    file: _blob_pb2.Digest
    left_out: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, file: _Optional[_Union[_blob_pb2.Digest, _Mapping]] = ..., left_out: _Optional[_Iterable[str]] = ...) -> None: ...

class BenchmarkWarning(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
