"""The headers of a delivery with lower-case names: a copy of any mapping, or a view of a WSGI environment.

The view copies nothing. A forged delivery needs two or three of its headers, and a copy of all of them cost more than
the check of its signature.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "HTTP_"
#: Headers whose name in a WSGI environment has no prefix (PEP 3333). Servers may add the name with it too.
_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
_SECOND_SPELLINGS = frozenset(_PREFIX + key for key in _UNPREFIXED.values())


class WsgiHeaders(Mapping[str, str]):
    """The headers of a request, read from its WSGI environment when they are asked for.

    Args:
        environ: The WSGI environment.
    """

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a header, or the default.

        Args:
            name: The name in lower case.
            default: The value if the header is missing.
        """
        return self._environ.get(_environ_key(name), default)

    def __getitem__(self, name: str) -> str:
        value: str = self._environ[_environ_key(name)]
        return value

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key.startswith(_PREFIX) and key not in _SECOND_SPELLINGS:
                yield key[len(_PREFIX) :].replace("_", "-").lower()
        for name, key in _UNPREFIXED.items():
            if self._environ.get(key):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def lower_case(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers with lower-case names."""
    if isinstance(headers, WsgiHeaders):
        return headers
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        # RFC 9110, 5.3: a header sent twice equals one with both values joined.
        lowered[name] = f"{lowered[name]}, {value}" if name in lowered else value
    return lowered


@functools.lru_cache(maxsize=1024)
def _environ_key(name: str) -> str:
    return _UNPREFIXED.get(name) or _PREFIX + name.upper().replace("-", "_")
