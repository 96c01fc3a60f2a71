"""Values of a generated Python client that JSON has no type for, and its errors."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Generic, NewType, TypeVar

T = TypeVar("T")
StoredFileId = NewType("StoredFileId", str)


class Unset(enum.Enum):
    """The type of UNSET, which stands for an argument or a field that is left out."""

    UNSET = "UNSET"


UNSET = Unset.UNSET


class ClientError(Exception):
    """A call has failed."""


class FunctionError(ClientError):
    """The function has failed, or does not exist, or its arguments are wrong."""


class ConvexError(FunctionError):
    """The function has raised a `ConvexError`.

    Attributes:
        data: The data of the error.
    """

    def __init__(self, message: str, data: Any) -> None:
        super().__init__(message)
        self.data = data


class ResponseError(ClientError):
    """The response has an HTTP status that is no success.

    Attributes:
        status: The status.
        code: The name of the error, or an empty text.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a paginated query.

    Attributes:
        page: The documents.
        is_done: Whether this is the last page.
        continue_cursor: The cursor of the next page.
    """

    page: list[T]
    is_done: bool
    continue_cursor: str
