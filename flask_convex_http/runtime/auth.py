"""`ctx.auth`: the identity of the caller.

A credential is checked when a function asks for the identity. The check may read the database or fetch the keys of an
issuer, so it is over before a snapshot or transaction opens (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable

from flask_convex_http.errors import AuthenticationError
from flask_convex_http.identities import UserIdentity

_ANONYMOUS = (
    "The call is anonymous, and ctx.identity needs a caller. Commands, jobs and webhooks have none; "
    "ctx.auth.get_user_identity() returns None there"
)


class Auth:
    """`ctx.auth`: the identity of the caller."""

    __slots__ = ("_identity",)

    def __init__(self, identity: UserIdentity | None = None) -> None:
        self._identity = identity

    def get_user_identity(self) -> UserIdentity | None:
        """Return the caller's identity, or None if the call is anonymous.

        Raises:
            AuthenticationError: The request has a credential that is not valid. The response is 401.
            AuthProviderError: The keys of the issuer cannot be fetched at the moment. The response is 503.
        """
        return self._identity

    @property
    def required(self) -> UserIdentity:
        """The caller's identity; without one it raises `AuthenticationError`, as `ctx.identity` does."""
        identity = self.get_user_identity()
        if identity is None:
            raise AuthenticationError(_ANONYMOUS, "Missing credentials", error=None)
        return identity

    @property
    def checked(self) -> UserIdentity | None:
        """The identity that a guard such as `@require_bearer` has checked, or None. It looks at no credential."""
        return self._identity

    @property
    def known(self) -> UserIdentity | None:
        """The identity as far as it was looked at, or None. It looks at no credential."""
        return self._identity

    def settle(self) -> None:
        """Check the credential now, so that no later call does. An error is kept for the function that asks."""


class PendingAuth(Auth):
    """The identity of a request whose credential is not checked yet.

    Args:
        resolve: Returns the identity, or raises. Called once at most.
    """

    __slots__ = ("_error", "_resolve")

    def __init__(self, resolve: Callable[[], UserIdentity | None]) -> None:
        super().__init__()
        self._resolve: Callable[[], UserIdentity | None] | None = resolve
        self._error: Exception | None = None

    def get_user_identity(self) -> UserIdentity | None:
        """Check the credential if no one has, and return the caller's identity; see `Auth.get_user_identity`."""
        self.settle()
        if self._error is not None:
            raise self._error
        return self._identity

    @property
    def checked(self) -> UserIdentity | None:
        """None, since no guard has checked the credential."""
        return None

    def settle(self) -> None:
        """Check the credential now, and keep the identity or the error."""
        resolve, self._resolve = self._resolve, None
        if resolve is None:
            return
        try:
            self._identity = resolve()
        except Exception as error:  # raised again for each function that asks
            self._error = error
