from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ExchangeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("received_unix_nano", "answered_unix_nano")
    RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    received_unix_nano: int
    answered_unix_nano: int
    def __init__(self, received_unix_nano: _Optional[int] = ..., answered_unix_nano: _Optional[int] = ...) -> None: ...
