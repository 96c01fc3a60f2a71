"""The functions of an app as clients see them: their names on the wire, and how their values are read and written."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from flask_convex_http.errors import RegistrationError
from flask_convex_http.function_api.decoding import Decode, Decoders
from flask_convex_http.function_api.encoding import Encode, Encoders, Form
from flask_convex_http.function_api.names import Casing, wire_path
from flask_convex_http.functions.function import Function

_PATH = re.compile(r"[A-Za-z0-9_.]+(/[A-Za-z0-9_.]+)*(:[A-Za-z_][A-Za-z0-9_]*)?", re.ASCII)
_LONGEST_PATH = 1000
_PAGING = ("num_items", "cursor")


class Endpoint:
    """A function as clients see it.

    Args:
        function: The function.
        surface: The surface that it is a part of.

    Attributes:
        function: The function.
        name: Its name on the wire, such as "items:listItems".
        decode: Reads its arguments, an object, from encoded JSON.
    """

    def __init__(self, function: Function[Any, Any], surface: Surface) -> None:
        self.function = function
        self.name = wire_path(function.name, surface.casing)
        where = f"The arguments of {function.name}"
        self.decode = _with_paging(function, surface.decoders.fields(function.argument_types, where))
        returns = function.result_type
        surface.decoders.of(returns)  # refuses fields that would collide
        self._encoders: dict[Form, Encode] = {form: made.of(returns) for form, made in surface.encoders.items()}

    def encode(self, value: Any, form: Form) -> Any:
        """Return the result of the function as JSON.

        Raises:
            ValueFormatError: Clients cannot receive it.
        """
        return self._encoders[form](value)


class Surface:
    """The functions of an app by their names on the wire. The names in Python work as well.

    Args:
        functions: The functions.
        casing: The casing on the wire.

    Attributes:
        casing: The casing.
        encoders: Encodes values of any type, for each form.

    Raises:
        RegistrationError: Two names are one on the wire.
    """

    def __init__(self, functions: Iterable[Function[Any, Any]], casing: Casing) -> None:
        self.casing = casing
        self.decoders = Decoders(casing)
        self.encoders: dict[Form, Encoders] = {
            "encoded": Encoders(casing, "encoded"),
            "clean": Encoders(casing, "clean"),
        }
        self._all: dict[str, Endpoint] = {}
        for function in functions:
            self._add(Endpoint(function, self))
        self._refusal: Callable[[str], str | None] = lambda path: None
        self._public = {name: endpoint for name, endpoint in self._all.items() if endpoint.function.public}

    def find(self, path: str, *, internal: bool = False) -> Endpoint | None:
        """Return the function that a client names, or None.

        Args:
            path: A valid name; see `canonical`.
            internal: Whether the caller may call internal functions.
        """
        return (self._all if internal else self._public).get(path)

    def refusal(self, path: str) -> str | None:
        """Return the error for an administrator who calls a function that there is not; None for the usual error."""
        return self._refusal(path)

    def add_system(self, functions: Iterable[Function[Any, Any]], refusal: Callable[[str], str | None]) -> None:
        """Add functions of the package itself, which only administrators may call.

        Args:
            functions: Internal functions.
            refusal: See the method of this name.
        """
        for function in functions:
            self._add(Endpoint(function, self))
        self._refusal = refusal

    def _add(self, endpoint: Endpoint) -> None:
        other = self._all.setdefault(endpoint.name, endpoint)
        if other is not endpoint:
            raise RegistrationError(
                f"{other.function.name} and {endpoint.function.name} are both {endpoint.name!r} to clients; rename "
                "one, or write FunctionApi(casing=None)"
            )
        self._all[endpoint.function.name] = endpoint
        if endpoint.function.public and canonical(endpoint.name) != endpoint.name:
            raise RegistrationError(
                f"{endpoint.function.name} has a name that clients cannot call; use only ASCII letters, digits and "
                "underscores, or make it internal"
            )


def canonical(path: str) -> str | None:
    """Return the name of a function without `.js`, and with `default` for a missing name; None for no valid name."""
    return _canonical(path) if len(path) <= _LONGEST_PATH else None  # the cache would keep long texts


@functools.lru_cache(maxsize=1024)
def _canonical(path: str) -> str | None:
    if not _PATH.fullmatch(path):
        return None
    module, _, name = path.partition(":")
    return f"{module.removesuffix('.js')}:{name or 'default'}"


def _with_paging(function: Function[Any, Any], decode: Decode) -> Decode:
    """Return a decoder that passes `paginationOpts` to a function as `num_items=` and `cursor=`."""
    names = function.parameters.keys()
    if not names >= set(_PAGING) or "pagination_opts" in names:
        return decode

    def decode_paging(arguments: dict[str, Any]) -> Any:
        options = arguments.get("paginationOpts")
        if not isinstance(options, dict):
            return decode(arguments)
        others = {name: value for name, value in arguments.items() if name != "paginationOpts"}
        return decode({"numItems": options.get("numItems"), "cursor": options.get("cursor"), **others})

    return decode_paging
