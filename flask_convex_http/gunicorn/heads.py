"""The heads of plain requests, parsed with one regular expression.

gunicorn checks a head line by line, which takes as long as all of Flask's own work on a small request. Nearly every
head is plain: a known method, a path, HTTP/1.1, and fields without surprises. Such a head is matched as a whole here.
gunicorn itself parses every other head, from its first byte, and raises its own errors.
"""

from __future__ import annotations

import re
from typing import Any

from gunicorn.http.message import Request  # type: ignore[import-untyped]

from flask_convex_http.gunicorn.bodies import announced_length, arrived_body

#: The quantifiers are possessive: a head that is not plain is found out in one pass.
_PLAIN = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!-\"$->@-~]*+)(?:\?([!-\"$-~]*+))? HTTP/1\.1"
    rb"((?>\r\n[A-Za-z0-9-]++:[\t -~\x80-\xff]*+)*+)\r\n\r\n"
)
#: Fields on which gunicorn's policy acts, besides those of its settings.
_WITH_POLICY = frozenset({"HOST", "CONTENT-TYPE", "EXPECT"})

#: The attribute of a connection with what its client may set.
_FIELDS = "convex_fields_of_proxies"


class PlainRequest(Request):  # type: ignore[misc]
    """A request of gunicorn that parses plain heads faster, with the same result."""

    #: Whether the head was plain.
    is_plain = False

    def parse(self, unreader: Any) -> bytes:
        """Parse the head, and return the bytes behind it."""
        data = unreader.read()
        if not data:
            raise StopIteration  # as gunicorn: the client has closed the connection
        head = _PLAIN.match(data) if self.cfg.proxy_protocol == "off" else None
        if head is None or not self._is_within_limits(head):
            unreader.unread(data)
            rest: bytes = super().parse(unreader)
            return rest
        method, path, query, fields = head.groups()
        self.method, self.path = method.decode(), path.decode()
        self.query = "" if query is None else query.decode()
        self.uri = self.path if query is None else f"{self.path}?{self.query}"
        self.fragment = ""
        self.version = (1, 1)
        self.headers = self._fields_of(fields)
        self.is_plain = True
        return bytes(data[head.end() :])

    body: Any

    def set_body_reader(self) -> None:
        """Take a body that has arrived, or read it as gunicorn does."""
        length = announced_length(self.headers)
        body = None if length is None else arrived_body(length, self.unreader)
        if body is None:
            super().set_body_reader()
        else:
            self.body = body

    def _is_within_limits(self, head: re.Match[bytes]) -> bool:
        """Return whether gunicorn's limits hold for each line of the head, by limits of the whole."""
        length = head.end()
        line, field = self.limit_request_line, self.limit_request_field_size
        if 0 < line < length or 0 < field < length:
            return False
        number: int = self.limit_request_fields
        return head[4].count(b"\r\n") <= number

    def _fields_of(self, fields: bytes) -> list[tuple[str, str]]:
        with_policy = _WITH_POLICY
        secure, forwarders = self._fields_of_proxies()
        scheme: list[bool] = [False]
        seen: set[str] = set()
        kept = []
        for line in fields.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            field = (name.upper(), value.strip(" \t"))
            if field[0] in with_policy or field[0] in secure:
                field = self._apply_header_policy(*field, scheme, seen, secure, forwarders)
            kept.append(field)
        return kept

    def _fields_of_proxies(self) -> tuple[dict[str, str], list[str]]:
        """Return the fields that only a trusted proxy may set, which are the same for all requests of a connection."""
        unreader = self.unreader
        if not hasattr(unreader, _FIELDS):  # gunicorn parses the address of the client each time
            setattr(unreader, _FIELDS, self._peer_trusted_for_forwarded())
        fields: tuple[dict[str, str], list[str]] = getattr(unreader, _FIELDS)
        return fields
