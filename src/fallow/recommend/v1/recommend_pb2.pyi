from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_PROPOSED: _ClassVar[State]
    STATE_APPROVED: _ClassVar[State]
    STATE_APPLYING: _ClassVar[State]
    STATE_APPLIED: _ClassVar[State]
    STATE_VERIFIED: _ClassVar[State]
    STATE_REVERTED: _ClassVar[State]
    STATE_FAILED: _ClassVar[State]
    STATE_REFUSED: _ClassVar[State]
    STATE_DISMISSED: _ClassVar[State]
    STATE_EXPIRED: _ClassVar[State]
    STATE_SUPERSEDED: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_PROPOSED: State
STATE_APPROVED: State
STATE_APPLYING: State
STATE_APPLIED: State
STATE_VERIFIED: State
STATE_REVERTED: State
STATE_FAILED: State
STATE_REFUSED: State
STATE_DISMISSED: State
STATE_EXPIRED: State
STATE_SUPERSEDED: State

class Action(_message.Message):
    __slots__ = ("kind", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, kind: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Saving(_message.Message):
    __slots__ = ("gpu_seconds", "low", "high", "basis", "cost", "currency", "price_source", "gco2e", "intensity_source")
    GPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PRICE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    GCO2E_FIELD_NUMBER: _ClassVar[int]
    INTENSITY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    gpu_seconds: float
    low: float
    high: float
    basis: str
    cost: float
    currency: str
    price_source: str
    gco2e: float
    intensity_source: str
    def __init__(self, gpu_seconds: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., basis: _Optional[str] = ..., cost: _Optional[float] = ..., currency: _Optional[str] = ..., price_source: _Optional[str] = ..., gco2e: _Optional[float] = ..., intensity_source: _Optional[str] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("kind", "name", "start_unix_nano", "end_unix_nano", "count", "value", "text")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    END_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    start_unix_nano: int
    end_unix_nano: int
    count: int
    value: float
    text: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., start_unix_nano: _Optional[int] = ..., end_unix_nano: _Optional[int] = ..., count: _Optional[int] = ..., value: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("result", "gpu_seconds_saved", "note", "reporter", "time_unix_nano")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    GPU_SECONDS_SAVED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    REPORTER_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    result: str
    gpu_seconds_saved: float
    note: str
    reporter: str
    time_unix_nano: int
    def __init__(self, result: _Optional[str] = ..., gpu_seconds_saved: _Optional[float] = ..., note: _Optional[str] = ..., reporter: _Optional[str] = ..., time_unix_nano: _Optional[int] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("id", "detection_id", "rule_id", "rule_hash", "title", "target", "action", "tier", "evidence", "saving", "confidence", "state", "created_unix_nano", "updated_unix_nano", "expires_unix_nano", "dedupe_key", "reason", "actor", "outcome", "revision")
    class TargetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    DETECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_HASH_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SAVING_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    UPDATED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    id: str
    detection_id: str
    rule_id: str
    rule_hash: str
    title: str
    target: _containers.ScalarMap[str, str]
    action: Action
    tier: str
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    saving: Saving
    confidence: float
    state: State
    created_unix_nano: int
    updated_unix_nano: int
    expires_unix_nano: int
    dedupe_key: str
    reason: str
    actor: str
    outcome: Outcome
    revision: int
    def __init__(self, id: _Optional[str] = ..., detection_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., rule_hash: _Optional[str] = ..., title: _Optional[str] = ..., target: _Optional[_Mapping[str, str]] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., tier: _Optional[str] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., saving: _Optional[_Union[Saving, _Mapping]] = ..., confidence: _Optional[float] = ..., state: _Optional[_Union[State, str]] = ..., created_unix_nano: _Optional[int] = ..., updated_unix_nano: _Optional[int] = ..., expires_unix_nano: _Optional[int] = ..., dedupe_key: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("states", "rule_id", "target", "page_size", "page_token")
    class TargetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATES_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[State]
    rule_id: str
    target: _containers.ScalarMap[str, str]
    page_size: int
    page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[State, str]]] = ..., rule_id: _Optional[str] = ..., target: _Optional[_Mapping[str, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("recommendations", "next_page_token", "revision")
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    next_page_token: str
    revision: int
    def __init__(self, recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("after_revision", "states", "rule_id")
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    states: _containers.RepeatedScalarFieldContainer[State]
    rule_id: str
    def __init__(self, after_revision: _Optional[int] = ..., states: _Optional[_Iterable[_Union[State, str]]] = ..., rule_id: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("revision", "recommendation")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    recommendation: Recommendation
    def __init__(self, revision: _Optional[int] = ..., recommendation: _Optional[_Union[Recommendation, _Mapping]] = ...) -> None: ...

class ApproveRequest(_message.Message):
    __slots__ = ("id", "actor", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    actor: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DismissRequest(_message.Message):
    __slots__ = ("id", "actor", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    actor: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReportOutcomeRequest(_message.Message):
    __slots__ = ("id", "outcome")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    id: str
    outcome: Outcome
    def __init__(self, id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("recommendation", "text")
    RECOMMENDATION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    recommendation: Recommendation
    text: str
    def __init__(self, recommendation: _Optional[_Union[Recommendation, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...
