"""CORS policies: checked at registration, and applied by flask-cors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from flask import Response
from flask_cors import cross_origin
from flask_cors.core import FLASK_CORS_EVALUATED

from flask_convex_http.errors import RegistrationError

#: Characters that make flask-cors treat an origin as a regular expression.
_REGEX = re.compile(r"[*\\\]?$^\[()]")
#: "https://*.example.com": every subdomain at any depth, but not example.com itself.
_SUBDOMAINS = re.compile(r"([a-z][a-z0-9+.-]*://)\*\.([a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?)", re.IGNORECASE)
#: "http://localhost:*", a regular expression that matches no port.
_ANY_PORT = re.compile(r"[a-z][a-z0-9+.-]*://[^*\s/]+:\*", re.IGNORECASE)
_GLOBAL_FLAGS = re.compile(r"\(\?[aiLmsux]+\)")
_ANCHORED = re.compile(r".*(\\Z|\$)\Z", re.DOTALL)

Origins = str | re.Pattern[str] | Sequence[str | re.Pattern[str]]


@dataclass(frozen=True)
class Cors:
    r"""A CORS policy: the other origins whose pages may use a route.

    Args:
        origins: "*", an origin such as "https://example.com", all subdomains as "https://*.example.com", a regular
            expression that ends in `\Z`, or several of these.
        methods: The methods that a preflight allows. The default is the methods registered for the path.
        allow_headers: The request headers that a preflight allows. The default is those that it asks for.
        expose_headers: The response headers that scripts may read.
        credentials: Whether the browser may send its cookies and its own Authorization header.
        max_age: How long a browser may cache the response to a preflight.

    Raises:
        RegistrationError: The policy allows origins that it is not meant to allow.
    """

    origins: Origins = "*"
    methods: Sequence[str] | None = None
    allow_headers: str | Sequence[str] = "*"
    expose_headers: str | Sequence[str] | None = None
    credentials: bool = False
    max_age: timedelta | int = timedelta(hours=2)

    def __post_init__(self) -> None:
        origins = self._origin_list()
        if not origins:
            raise RegistrationError(
                'Cors(origins=[]) allows no origin; write cors=None or name an origin ("*" for all)'
            )
        for origin in origins:
            _check_origin(origin)
        if self.credentials and any(_lets_anyone_in(origin) for origin in origins):
            raise RegistrationError(
                f"Cors(origins={self.origins!r}, credentials=True) would let every site act as your user; "
                "name the origins"
            )

    def applier(
        self, methods: Sequence[str], takes: Sequence[str] = (), sends: Sequence[str] = ()
    ) -> Callable[[Response], Response]:
        """Return a function that adds the headers to a response to the current request.

        Args:
            methods: The methods registered for the path.
            takes: Request headers that the routes need, beside those of `allow_headers`.
            sends: Response headers that scripts need, beside those of `expose_headers`.
        """
        origins = [_resolved(origin) for origin in self._origin_list()]
        everyone = "*" in origins
        seconds = self.max_age.total_seconds() if isinstance(self.max_age, timedelta) else self.max_age
        options: dict[str, Any] = {
            "origins": "*" if everyone else origins,
            "methods": list(self.methods or methods),
            "allow_headers": _joined(self.allow_headers, takes),
            "expose_headers": _joined(self.expose_headers, sends),
            "supports_credentials": self.credentials,
            "max_age": int(seconds),
            "send_wildcard": everyone,
            "always_send": everyone,
            "automatic_options": False,
        }
        decorate = cross_origin(**options)

        def apply(response: Response) -> Response:
            _clear(response)
            if not everyone:
                response.vary.add("Origin")  # caches need it, and flask-cors omits it for a single origin
            answer: Response = decorate(lambda: response)()
            return answer

        return apply

    def _origin_list(self) -> list[str | re.Pattern[str]]:
        return [self.origins] if isinstance(self.origins, (str, re.Pattern)) else list(self.origins)


def _joined(names: str | Sequence[str] | None, more: Sequence[str]) -> str | list[str] | None:
    """Return names of headers with more of them. "*" stands for all."""
    given = [names] if isinstance(names, str) else list(names or ())
    if not more or "*" in given:
        return names if names is None or isinstance(names, str) else given
    return list(dict.fromkeys((*given, *more)))


CorsOption = Cors | str | Sequence[str] | None | bool
#: The policy of a route; None without one, and False for a route that no other origin may use.
Policy = Cors | Literal[False] | None


def without_cors(response: Response) -> Response:
    """Remove the CORS headers of a response, and let flask-cors on the whole app add none."""
    _clear(response)
    response.__dict__[FLASK_CORS_EVALUATED] = True
    return response


def allow_everyone(response: Response) -> Response:
    """Add the header of the policy `Cors()` to a new response, for a tenth of the time that flask-cors takes."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.__dict__[FLASK_CORS_EVALUATED] = True
    return response


def _clear(response: Response) -> None:
    """Remove the CORS headers of a response. Browsers reject one with two `Access-Control-Allow-Origin`."""
    response.__dict__.pop(FLASK_CORS_EVALUATED, None)  # flask-cors would add nothing a second time
    for name in {name for name, _ in response.headers if name.lower().startswith("access-control-")}:
        del response.headers[name]


def cors_policy(option: CorsOption, inherited: Policy) -> Policy:
    """Return the policy for a route's `cors=` argument.

    Args:
        option: The argument: None inherits the router's policy, False means that no other origin may use the route.
        inherited: The router's policy.

    Raises:
        RegistrationError: The argument is True, or not a valid policy.
    """
    if option is None:
        return inherited
    if option is False or isinstance(option, Cors):
        return option
    if option is True:
        raise RegistrationError('cors=True does not say who; write cors="*" or list the origins')
    return Cors(origins=option)


def _check_origin(origin: str | re.Pattern[str]) -> None:
    text = origin.pattern if isinstance(origin, re.Pattern) else origin
    if not isinstance(text, str) or not text:
        raise RegistrationError(f"Cors(origins={origin!r}): an origin is a text such as https://example.com")
    if text == "*" or (isinstance(origin, str) and _SUBDOMAINS.fullmatch(origin)):
        return
    if isinstance(origin, re.Pattern) or _REGEX.search(text):
        _check_pattern(origin)
        return
    if text != "null" and (not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text, re.IGNORECASE)):
        raise RegistrationError(
            f"Cors(origins={text!r}): an origin is a scheme and a host, such as https://example.com, no path"
        )


def _check_pattern(origin: str | re.Pattern[str]) -> None:
    text = origin.pattern if isinstance(origin, re.Pattern) else origin
    if isinstance(origin, str) and _ANY_PORT.fullmatch(origin):
        start = origin.removesuffix("*")
        raise RegistrationError(
            f"Cors(origins={origin!r}): * does not stand for a port. Name each one, such as {start + '5173'!r}, or "
            rf"write r'{re.escape(start)}[0-9]+\Z' for all of them"
        )
    if not _ANCHORED.match(text):
        raise RegistrationError(
            f"Cors(origins={text!r}) is a regular expression without an end: it would also let in "
            r"https://example.com.evil.net. Write r'https://[a-z0-9-]+\.example\.com\Z'"
        )
    try:
        _resolved(origin)
    except re.error as error:
        raise RegistrationError(f"Cors(origins={text!r}) is not a regular expression: {error}") from None


def _resolved(origin: str | re.Pattern[str]) -> str | re.Pattern[str]:
    """Return an origin for flask-cors: a text to compare with, or an expression that matches a whole origin."""
    if isinstance(origin, re.Pattern):
        return _whole(origin.pattern, origin.flags)
    subdomains = _SUBDOMAINS.fullmatch(origin)
    if subdomains is not None:
        return _whole(rf"{re.escape(subdomains[1])}([a-z0-9-]+\.)+{re.escape(subdomains[2])}", re.IGNORECASE)
    return _whole(origin, re.IGNORECASE) if origin != "*" and _REGEX.search(origin) else origin


def _whole(text: str, flags: int) -> re.Pattern[str]:
    r"""Return an expression that matches a whole origin. In `a|b\Z` the anchor belongs to the last alternative only."""
    leading = _GLOBAL_FLAGS.match(text)
    start = leading.end() if leading else 0
    return re.compile(rf"{text[:start]}(?:{text[start:]})\Z", flags)


def _lets_anyone_in(origin: str | re.Pattern[str]) -> bool:
    resolved = _resolved(origin)
    return bool(resolved.match("https://anyone.invalid")) if isinstance(resolved, re.Pattern) else resolved == "*"
