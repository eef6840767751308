import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Digest(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class FindMissingBlobsRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: _containers.RepeatedCompositeFieldContainer[Digest]
    def __init__(self, digests: _Optional[_Iterable[_Union[Digest, _Mapping]]] = ...) -> None: ...

class FindMissingBlobsResponse(_message.Message):
    __slots__ = ("missing",)
    class MissingBlob(_message.Message):
        __slots__ = ("digest", "committed_size_bytes")
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        COMMITTED_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
        digest: Digest
        committed_size_bytes: int
        def __init__(self, digest: _Optional[_Union[Digest, _Mapping]] = ..., committed_size_bytes: _Optional[int] = ...) -> None: ...
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedCompositeFieldContainer[FindMissingBlobsResponse.MissingBlob]
    def __init__(self, missing: _Optional[_Iterable[_Union[FindMissingBlobsResponse.MissingBlob, _Mapping]]] = ...) -> None: ...

class WriteBlobRequest(_message.Message):
    __slots__ = ("digest", "write_offset", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WRITE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: Digest
    write_offset: int
    data: bytes
    def __init__(self, digest: _Optional[_Union[Digest, _Mapping]] = ..., write_offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class WriteBlobResponse(_message.Message):
    __slots__ = ("committed_size_bytes",)
    COMMITTED_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    committed_size_bytes: int
    def __init__(self, committed_size_bytes: _Optional[int] = ...) -> None: ...

class ReadBlobRequest(_message.Message):
    __slots__ = ("digest", "read_offset")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    READ_OFFSET_FIELD_NUMBER: _ClassVar[int]
    digest: Digest
    read_offset: int
    def __init__(self, digest: _Optional[_Union[Digest, _Mapping]] = ..., read_offset: _Optional[int] = ...) -> None: ...

class ReadBlobResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ListBlobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBlobsResponse(_message.Message):
    __slots__ = ("blobs", "next_page_token")
    class Blob(_message.Message):
        __slots__ = ("digest", "last_used_time")
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        LAST_USED_TIME_FIELD_NUMBER: _ClassVar[int]
        digest: Digest
        last_used_time: _timestamp_pb2.Timestamp
        def __init__(self, digest: _Optional[_Union[Digest, _Mapping]] = ..., last_used_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    blobs: _containers.RepeatedCompositeFieldContainer[ListBlobsResponse.Blob]
    next_page_token: str
    def __init__(self, blobs: _Optional[_Iterable[_Union[ListBlobsResponse.Blob, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteBlobRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: Digest
    def __init__(self, digest: _Optional[_Union[Digest, _Mapping]] = ...) -> None: ...

class DeleteBlobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
