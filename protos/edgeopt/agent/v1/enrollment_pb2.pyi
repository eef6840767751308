from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class BeginEnrollmentRequest(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class BeginEnrollmentResponse(_message.Message):
    __slots__ = ("signing_request",)
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    signing_request: str
    def __init__(self, signing_request: _Optional[str] = ...) -> None: ...

class FinishEnrollmentRequest(_message.Message):
    __slots__ = ("token", "certificate", "ca_certificate")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CA_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    token: str
    certificate: str
    ca_certificate: str
    def __init__(self, token: _Optional[str] = ..., certificate: _Optional[str] = ..., ca_certificate: _Optional[str] = ...) -> None: ...

class FinishEnrollmentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
