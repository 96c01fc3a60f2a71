"""The messages of Convex's sync protocol: JSON objects with a `type`, in text frames.

A timestamp is an unsigned integer of 64 bits, which travels as base64 of its 8 bytes, the lowest first. Here it is the
number of a commit.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Text = Annotated[str, msgspec.Meta(max_length=2_000)]


class Connect(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The first message of a connection."""

    session_id: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,100}\Z")]
    connection_count: int = 0
    max_observed_timestamp: str | None = None


class Authenticate(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A new identity of the client, which all its queries are run with from now on."""

    token_type: str
    base_version: _Count
    value: str | None = None
    impersonating: dict[str, Any] | None = None


class Add(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query to add to the query set."""

    query_id: _Count
    udf_path: _Text
    args: list[msgspec.Raw]
    journal: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None
    component_path: _Text | None = None


class Remove(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query to remove from the query set."""

    query_id: _Count


class ModifyQuerySet(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A change of the query set."""

    base_version: _Count
    new_version: _Count
    modifications: list[Add | Remove]


class Mutation(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A mutation to run, once for each session and request id."""

    request_id: _Count
    udf_path: _Text
    args: list[msgspec.Raw]
    component_path: _Text | None = None


class Action(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """An action to run."""

    request_id: _Count
    udf_path: _Text
    args: list[msgspec.Raw]
    component_path: _Text | None = None


class Event(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """Telemetry of the client, which is ignored."""


ClientMessage = Connect | Authenticate | ModifyQuerySet | Mutation | Action | Event


class StateVersion(msgspec.Struct, frozen=True, rename="camel"):
    """The state that a client knows: the versions of its query set and identity, and a commit."""

    query_set: int = 0
    ts: str = "AAAAAAAAAAA="
    identity: int = 0


class QueryUpdated(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The new value of a query."""

    query_id: int
    value: msgspec.Raw
    log_lines: list[str]
    journal: str | None


class QueryFailed(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The error of a query, which stays subscribed."""

    query_id: int
    error_message: str
    log_lines: list[str]
    journal: str | None
    error_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class QueryRemoved(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query that is no longer in the query set."""

    query_id: int


Modification = QueryUpdated | QueryFailed | QueryRemoved


class Transition(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A step from one version to another. All queries of the client are as of the commit of the later version."""

    start_version: StateVersion
    end_version: StateVersion
    modifications: list[Modification]


class TransitionChunk(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A part of a Transition that is too long for one message."""

    chunk: str
    part_number: int
    total_parts: int
    transition_id: str


class MutationResponse(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The end of a mutation. `ts` is the commit at which queries see its writes, if it has succeeded."""

    request_id: int
    success: bool
    result: msgspec.Raw | str
    log_lines: list[str]
    ts: str | msgspec.UnsetType = msgspec.UNSET
    error_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class ActionResponse(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The end of an action."""

    request_id: int
    success: bool
    result: msgspec.Raw | str
    log_lines: list[str]
    error_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class AuthError(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The credential of the client is not valid, or no longer. The client gets a new one."""

    error: str
    base_version: int
    auth_update_attempted: bool


class FatalError(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The client has violated the protocol, and must not connect again."""

    error: str


class Ping(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A sign that the connection works."""


ServerMessage = Transition | TransitionChunk | MutationResponse | ActionResponse | AuthError | FatalError | Ping

_decoder = msgspec.json.Decoder(ClientMessage)
_encoder = msgspec.json.Encoder()


class ProtocolViolationError(Exception):
    """A client has sent a message that the protocol does not allow. The text is for that client."""


def decode(data: bytes) -> ClientMessage:
    """Return the message of a frame.

    Raises:
        ProtocolViolationError: It is none.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolationError(f"Invalid message: {error}") from None


def encode(message: ServerMessage) -> bytes:
    """Return the text of a message."""
    return _encoder.encode(message)


def encode_ts(number: int) -> str:
    """Return a timestamp as it travels."""
    return base64.b64encode(number.to_bytes(8, "little")).decode()


def decode_ts(text: str) -> int:
    """Return the timestamp that a text means.

    Raises:
        ProtocolViolationError: It is none.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 8:
        raise ProtocolViolationError("A timestamp is base64 of 8 bytes")
    return int.from_bytes(raw, "little")


def decode_value(raw: msgspec.Raw) -> Any:
    """Return the JSON value of a part of a message."""
    return msgspec.json.decode(raw)
