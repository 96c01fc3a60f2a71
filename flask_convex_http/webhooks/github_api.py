"""GitHub's REST API for webhooks: the deliveries that GitHub recorded in the last three days.

Rules: https://docs.github.com/en/rest/repos/webhooks, and https://docs.github.com/en/rest/using-the-rest-api
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import msgspec

from flask_convex_http.identities.fetch import url_problem

API = "https://api.github.com"
_TIMEOUT = 20.0
#: A delivery is 25 MiB at most, and its JSON may be longer.
_MOST_BYTES = 64 * 1024 * 1024
_NEXT = re.compile(r'<([^<>]+)>;\s*rel="next"')
_REPOSITORY = re.compile(r"[\w-]+/(?!\.{1,2}\Z)[\w.-]+", re.ASCII)


class GitHubApiError(Exception):
    """GitHub's API did not respond as documented. The message is for the operator, and has no token in it."""


class Hook(msgspec.Struct):
    """A webhook of a repository.

    Attributes:
        id: Its number.
        config: Its configuration, with the URL.
    """

    id: int
    config: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """The URL that GitHub delivers to."""
        return str(self.config.get("url", ""))


class RecordedDelivery(msgspec.Struct):
    """A delivery that GitHub recorded.

    Attributes:
        id: GitHub's number of this attempt.
        guid: The id of the delivery, `X-GitHub-Delivery`, the same for each redelivery.
        delivered_at: When it was sent, in RFC 3339.
        event: The name of the event.
        status: The result in words, such as `OK`.
    """

    id: int
    guid: str
    delivered_at: str
    event: str = ""
    status: str = ""


class GitHubApi:
    """A client of GitHub's REST API.

    Args:
        token: A token with the permission to read webhooks of the repository.
        base: The URL of the API, such as `https://github.example/api/v3` of GitHub Enterprise.

    Raises:
        GitHubApiError: The URL is not `https://`.
    """

    def __init__(self, token: str, base: str = API) -> None:
        problem = url_problem(base)
        if problem is not None:
            raise GitHubApiError(f"The URL of the API {base!r} {problem}")
        self._token = token
        self._base = base.rstrip("/")

    def hooks(self, repository: str) -> list[Hook]:
        """Return the webhooks of a repository.

        Raises:
            GitHubApiError: There is no such repository, or the token may not read its webhooks.
        """
        pages = self._pages(f"/repos/{_checked(repository)}/hooks?per_page=100")
        return [hook for page in pages for hook in _converted(page, list[Hook])]

    def deliveries(self, repository: str, hook: int) -> Iterator[RecordedDelivery]:
        """Yield the recorded deliveries of a webhook, newest first, a page at a time.

        Raises:
            GitHubApiError: There is no such webhook, or the token may not read it.
        """
        for page in self._pages(f"/repos/{_checked(repository)}/hooks/{hook}/deliveries?per_page=100"):
            yield from _converted(page, list[RecordedDelivery])

    def request(self, repository: str, hook: int, delivery: int) -> tuple[dict[str, str], Any]:
        """Return the headers and the payload of a recorded delivery.

        Raises:
            GitHubApiError: GitHub does not have it any more.
        """
        path = f"/repos/{_checked(repository)}/hooks/{hook}/deliveries/{delivery}"
        found = _converted(self._get(self._base + path)[0], dict[str, Any])
        request = found.get("request")
        if not isinstance(request, dict) or request.get("payload") is None:
            raise GitHubApiError(f"GitHub has no payload of the delivery {delivery}")
        headers = request.get("headers") or {}
        return {str(name): str(value) for name, value in headers.items()}, request["payload"]

    def _pages(self, path: str) -> Iterator[Any]:
        url: str | None = self._base + path
        while url is not None:
            page, url = self._get(url)
            yield page

    def _get(self, url: str) -> tuple[Any, str | None]:
        """Return the JSON at a URL of the API, and the URL of the next page or None."""
        if not url.startswith(self._base + "/"):  # a link to another host must not get the token
            raise GitHubApiError("GitHub's API links to a page of another host")
        address = urlsplit(url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        try:
            with closing(kind(address.hostname or "", address.port, timeout=_TIMEOUT)) as connection:
                connection.request("GET", address._replace(scheme="", netloc="").geturl(), headers=self._headers())
                response = connection.getresponse()
                body = response.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise GitHubApiError(f"GitHub's API cannot be reached: {error}") from None
        if response.status != 200:
            raise GitHubApiError(_refusal(response.status, address.path))
        if len(body) > _MOST_BYTES:
            raise GitHubApiError("GitHub's API responds with more than 64 MiB")
        link = _NEXT.search(response.headers.get("Link", ""))
        try:
            return msgspec.json.decode(body), link[1] if link else None
        except (msgspec.DecodeError, RecursionError):
            raise GitHubApiError("GitHub's API does not respond with JSON") from None

    def _headers(self) -> Mapping[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "flask_convex_http",
            "X-GitHub-Api-Version": "2022-11-28",
        }


def _refusal(status: int, path: str) -> str:
    if status == 401:
        return "GitHub does not accept the token"
    if status in (403, 404):
        return f"GitHub responds with {status} for {path}: it does not exist, or the token may not read webhooks there"
    return f"GitHub responds with {status} for {path}"


def _checked(repository: str) -> str:
    if not _REPOSITORY.fullmatch(repository):
        raise GitHubApiError(f"{repository!r} is no repository: write OWNER/NAME")
    return repository


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise GitHubApiError(f"GitHub's API responds with an unexpected object: {error}") from None
