"""The work of the comparison: requests to a server's API, and the check of the responses.

Each status is compared, and each 32nd body is parsed and compared.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import items
from benchmarks.load import get, post
from benchmarks.servers import BODY

#: One of so many bodies is compared.
SAMPLE = 32
LISTED = 10


@dataclass(frozen=True, slots=True)
class Api:
    """The paths and responses of a server.

    Attributes:
        path: The path of all items. An item is below it.
        listing: The path of the ten newest items.
        created: The status of a POST request.
        id: The field with the id.
        listed: The field that has the list, or None if the response is the list.
    """

    path: str = "/api/items"
    listing: str = "/api/items"
    created: int = 201
    id: str = "_id"
    listed: str | None = None


POCKETBASE = Api(
    path="/api/collections/items/records",
    # sorted by the row number and without a count of all rows: its documentation's advice for speed
    listing="/api/collections/items/records?perPage=10&sort=-@rowid&skipTotal=1",
    created=200,
    id="id",
    listed="items",
)


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work.

    Attributes:
        name: Its name.
        writes: The share of POST requests, from 0 to 1.
        listing: Whether the reads are lists.
    """

    name: str
    writes: float = 0.0
    listing: bool = False

    def requests(self, api: Api, port: int, ids: Sequence[str]) -> Iterator[bytes]:
        """Yield requests without end, in the same random order for each server."""
        create, newest = post(port, api.path, BODY), get(api.listing)
        if self.writes == 1:
            return itertools.repeat(create)
        if self.listing:
            return itertools.repeat(newest)
        reads = [get(f"{api.path}/{item_id}") for item_id in ids]
        return self._mixed(create, reads)

    def _mixed(self, create: bytes, reads: Sequence[bytes]) -> Iterator[bytes]:
        chance = random.Random(1)
        while True:
            yield create if chance.random() < self.writes else chance.choice(reads)


WORKS = (
    Work("read by id"),
    Work("list of ten", listing=True),
    Work("create", writes=1),
    Work("90 % reads by id, 10 % creates", writes=0.1),
)


class Checker:
    """Checks responses, and counts the acknowledged writes.

    Args:
        api: The API of the server.

    Attributes:
        writes: The number of acknowledged writes.
    """

    def __init__(self, api: Api) -> None:
        self.writes = 0
        self._api = api
        self._read, self._created = b"200", str(api.created).encode()
        self._turn = itertools.cycle(range(SAMPLE))

    def __call__(self, request: bytes, response: bytes) -> str | None:
        """Return None, or the reason why the response is wrong."""
        is_write = request.startswith(b"POST")
        if response[9:12] != (self._created if is_write else self._read):
            return f"status {response[9:12].decode()}"
        if next(self._turn) == 0 and not self._is_right(request, response):
            return "wrong body"
        self.writes += is_write
        return None

    def _is_right(self, request: bytes, response: bytes) -> bool:
        body = json.loads(_body(response))
        path = request.split(b" ", 2)[1].decode()
        if request.startswith(b"POST"):
            return self._is_item(body)
        if path == self._api.listing:
            found = body[self._api.listed] if self._api.listed else body
            return len(found) == LISTED and all(map(self._is_item, found))
        return self._is_item(body) and path.endswith(f"/{body[self._api.id]}")

    def _is_item(self, item: dict[str, Any]) -> bool:
        return item["name"] == items.NAME and item["description"] == items.DESCRIPTION and bool(item[self._api.id])


def _body(response: bytes) -> bytes:
    """Return the body of a whole response, whose chunks are joined."""
    head, _, body = response.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    pieces = []
    while (line := body.partition(b"\r\n"))[0] not in (b"0", b""):
        size = int(line[0], 16)
        pieces.append(line[2][:size])
        body = line[2][size + 2 :]
    return b"".join(pieces)
