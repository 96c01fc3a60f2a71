"""The caller of an `Authenticate` message."""

from __future__ import annotations

from flask_convex_http.credentials import AdminKeys
from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.function_api.identity import (
    ANONYMOUS,
    Client,
    Identify,
    acting_administrator,
    administrator,
    user,
)
from flask_convex_http.sync.messages import Authenticate


def client_of_message(message: Authenticate, identify: Identify, admin_keys: AdminKeys) -> Client:
    """Return the caller of a message.

    Args:
        message: The message.
        identify: Checks the token of a user.
        admin_keys: The admin keys.

    Raises:
        ProtocolError: The credential is not valid.
        AuthProviderError: The keys of an issuer cannot be fetched at the moment.
    """
    if message.token_type == "None":
        return ANONYMOUS
    value = message.value or ""
    if message.token_type == "User":
        return user(value, identify)
    if message.token_type == "Admin":
        if message.impersonating is None:
            return administrator(value, admin_keys)
        return acting_administrator(value, message.impersonating, admin_keys)
    raise ProtocolError(400, "InvalidTokenType", "tokenType must be User, Admin or None")
