from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Device(_message.Message):
    __slots__ = ("agent_version", "board", "cpu", "memory", "os", "emulated", "emulator", "runtimes", "sensors", "storage_free_bytes", "confinement", "allowed_code", "features")
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    EMULATOR_FIELD_NUMBER: _ClassVar[int]
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONFINEMENT_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_CODE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    board: Board
    cpu: Cpu
    memory: Memory
    os: OperatingSystem
    emulated: bool
    emulator: str
    runtimes: _containers.RepeatedCompositeFieldContainer[RuntimeFacts]
    sensors: _containers.RepeatedCompositeFieldContainer[SensorFacts]
    storage_free_bytes: int
    confinement: Confinement
    allowed_code: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agent_version: _Optional[str] = ..., board: _Optional[_Union[Board, _Mapping]] = ..., cpu: _Optional[_Union[Cpu, _Mapping]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., os: _Optional[_Union[OperatingSystem, _Mapping]] = ..., emulated: bool = ..., emulator: _Optional[str] = ..., runtimes: _Optional[_Iterable[_Union[RuntimeFacts, _Mapping]]] = ..., sensors: _Optional[_Iterable[_Union[SensorFacts, _Mapping]]] = ..., storage_free_bytes: _Optional[int] = ..., confinement: _Optional[_Union[Confinement, _Mapping]] = ..., allowed_code: _Optional[_Iterable[str]] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class Confinement(_message.Message):
    __slots__ = ("mechanisms", "missing")
    MECHANISMS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    mechanisms: _containers.RepeatedScalarFieldContainer[str]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mechanisms: _Optional[_Iterable[str]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class Board(_message.Message):
    __slots__ = ("model", "source")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    source: str
    def __init__(self, model: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class Cpu(_message.Message):
    __slots__ = ("model", "architecture", "logical_cores", "physical_cores", "clusters", "performance_cores", "usable_cores")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_CORES_FIELD_NUMBER: _ClassVar[int]
    PHYSICAL_CORES_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    PERFORMANCE_CORES_FIELD_NUMBER: _ClassVar[int]
    USABLE_CORES_FIELD_NUMBER: _ClassVar[int]
    model: str
    architecture: str
    logical_cores: int
    physical_cores: int
    clusters: _containers.RepeatedCompositeFieldContainer[CpuCluster]
    performance_cores: int
    usable_cores: int
    def __init__(self, model: _Optional[str] = ..., architecture: _Optional[str] = ..., logical_cores: _Optional[int] = ..., physical_cores: _Optional[int] = ..., clusters: _Optional[_Iterable[_Union[CpuCluster, _Mapping]]] = ..., performance_cores: _Optional[int] = ..., usable_cores: _Optional[int] = ...) -> None: ...

class CpuCluster(_message.Message):
    __slots__ = ("cores", "min_hz", "max_hz", "governor", "model")
    CORES_FIELD_NUMBER: _ClassVar[int]
    MIN_HZ_FIELD_NUMBER: _ClassVar[int]
    MAX_HZ_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    cores: _containers.RepeatedScalarFieldContainer[int]
    min_hz: int
    max_hz: int
    governor: str
    model: str
    def __init__(self, cores: _Optional[_Iterable[int]] = ..., min_hz: _Optional[int] = ..., max_hz: _Optional[int] = ..., governor: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("total_bytes", "limit_bytes", "available_bytes")
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    total_bytes: int
    limit_bytes: int
    available_bytes: int
    def __init__(self, total_bytes: _Optional[int] = ..., limit_bytes: _Optional[int] = ..., available_bytes: _Optional[int] = ...) -> None: ...

class OperatingSystem(_message.Message):
    __slots__ = ("name", "kernel", "python")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    name: str
    kernel: str
    python: str
    def __init__(self, name: _Optional[str] = ..., kernel: _Optional[str] = ..., python: _Optional[str] = ...) -> None: ...

class RuntimeFacts(_message.Message):
    __slots__ = ("name", "implementation", "version", "providers", "unavailable_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMPLEMENTATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    implementation: str
    version: str
    providers: _containers.RepeatedScalarFieldContainer[str]
    unavailable_reason: str
    def __init__(self, name: _Optional[str] = ..., implementation: _Optional[str] = ..., version: _Optional[str] = ..., providers: _Optional[_Iterable[str]] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class SensorFacts(_message.Message):
    __slots__ = ("name", "channels", "min_interval_ns", "unavailable_reason", "slow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    MIN_INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    SLOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    channels: _containers.RepeatedCompositeFieldContainer[SensorChannel]
    min_interval_ns: int
    unavailable_reason: str
    slow: bool
    def __init__(self, name: _Optional[str] = ..., channels: _Optional[_Iterable[_Union[SensorChannel, _Mapping]]] = ..., min_interval_ns: _Optional[int] = ..., unavailable_reason: _Optional[str] = ..., slow: bool = ...) -> None: ...

class SensorChannel(_message.Message):
    __slots__ = ("name", "quantity", "scope", "gain_error", "averaged", "wraps_at")
    class Quantity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        QUANTITY_UNSPECIFIED: _ClassVar[SensorChannel.Quantity]
        QUANTITY_TEMPERATURE_CELSIUS: _ClassVar[SensorChannel.Quantity]
        QUANTITY_CLOCK_HZ: _ClassVar[SensorChannel.Quantity]
        QUANTITY_POWER_MW: _ClassVar[SensorChannel.Quantity]
        QUANTITY_ENERGY_MJ: _ClassVar[SensorChannel.Quantity]
        QUANTITY_VOLTAGE_MV: _ClassVar[SensorChannel.Quantity]
        QUANTITY_CURRENT_MA: _ClassVar[SensorChannel.Quantity]
        QUANTITY_THROTTLE_FLAGS: _ClassVar[SensorChannel.Quantity]
        QUANTITY_THROTTLE_COUNT: _ClassVar[SensorChannel.Quantity]
        QUANTITY_CHARGING: _ClassVar[SensorChannel.Quantity]
    QUANTITY_UNSPECIFIED: SensorChannel.Quantity
    QUANTITY_TEMPERATURE_CELSIUS: SensorChannel.Quantity
    QUANTITY_CLOCK_HZ: SensorChannel.Quantity
    QUANTITY_POWER_MW: SensorChannel.Quantity
    QUANTITY_ENERGY_MJ: SensorChannel.Quantity
    QUANTITY_VOLTAGE_MV: SensorChannel.Quantity
    QUANTITY_CURRENT_MA: SensorChannel.Quantity
    QUANTITY_THROTTLE_FLAGS: SensorChannel.Quantity
    QUANTITY_THROTTLE_COUNT: SensorChannel.Quantity
    QUANTITY_CHARGING: SensorChannel.Quantity
    class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SCOPE_UNSPECIFIED: _ClassVar[SensorChannel.Scope]
        SCOPE_INPUT: _ClassVar[SensorChannel.Scope]
        SCOPE_RAIL: _ClassVar[SensorChannel.Scope]
        SCOPE_PART: _ClassVar[SensorChannel.Scope]
        SCOPE_BATTERY: _ClassVar[SensorChannel.Scope]
        SCOPE_PACKAGE: _ClassVar[SensorChannel.Scope]
    SCOPE_UNSPECIFIED: SensorChannel.Scope
    SCOPE_INPUT: SensorChannel.Scope
    SCOPE_RAIL: SensorChannel.Scope
    SCOPE_PART: SensorChannel.Scope
    SCOPE_BATTERY: SensorChannel.Scope
    SCOPE_PACKAGE: SensorChannel.Scope
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    GAIN_ERROR_FIELD_NUMBER: _ClassVar[int]
    AVERAGED_FIELD_NUMBER: _ClassVar[int]
    WRAPS_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    quantity: SensorChannel.Quantity
    scope: SensorChannel.Scope
    gain_error: float
    averaged: bool
    wraps_at: float
    def __init__(self, name: _Optional[str] = ..., quantity: _Optional[_Union[SensorChannel.Quantity, str]] = ..., scope: _Optional[_Union[SensorChannel.Scope, str]] = ..., gain_error: _Optional[float] = ..., averaged: bool = ..., wraps_at: _Optional[float] = ...) -> None: ...

class SensorSample(_message.Message):
    __slots__ = ("time_ns", "values")
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    time_ns: int
    values: _containers.RepeatedCompositeFieldContainer[SensorValue]
    def __init__(self, time_ns: _Optional[int] = ..., values: _Optional[_Iterable[_Union[SensorValue, _Mapping]]] = ...) -> None: ...

class SensorValue(_message.Message):
    __slots__ = ("channel", "value")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    channel: str
    value: float
    def __init__(self, channel: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
