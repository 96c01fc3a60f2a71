"""The caller of the function API: anonymous, a user with a token, or an administrator that may act as a user.

A credential that is not valid is an error here, before any function runs. In the app's own routes it is one when a
function asks for the identity.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import msgspec

from flask_convex_http.credentials import AdminKeys
from flask_convex_http.errors import AuthenticationError
from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.identities import UserIdentity

#: Returns the identity of a JWT, an access token or an API key. Raises `AuthenticationError`.
Identify = Callable[[str], UserIdentity]

_SHORTEST = len("Bearer ")
_DEPLOYMENT_TYPE = re.compile(r"(?:prod|dev|preview|project|local|anonymous):")
_UNKNOWN_ISSUER = "No auth provider found"
#: The issuer of an identity that an administrator has made up.
_ISSUER = "admin"


class Client(msgspec.Struct, frozen=True):
    """The caller of the function API.

    Attributes:
        identity: The identity, None for an anonymous caller and for an administrator who acts as no one.
        is_admin: Whether internal functions may be called.
    """

    identity: UserIdentity | None = None
    is_admin: bool = False


ANONYMOUS = Client()


def client_of(header: str, identify: Identify, admin_keys: AdminKeys) -> Client:
    """Return the client with an `Authorization` header.

    Args:
        header: The header.
        identify: Checks the token of a user.
        admin_keys: The admin keys.

    Raises:
        ProtocolError: The header has no known form (400), or its credential is not valid (401).
        AuthProviderError: The keys of an issuer cannot be fetched at the moment.
    """
    if len(header) < _SHORTEST:
        raise ProtocolError(400, "InvalidHeaderFailure", "The Authorization header is too short")
    scheme, _, credential = header.partition(" ")
    if scheme.lower() == "bearer":
        return user(credential.strip(), identify)
    if scheme.lower() == "convex":
        return administrator(credential.strip(), admin_keys)
    raise ProtocolError(400, "InvalidAdminKey", "The Authorization header must begin with Bearer or Convex")


def user(token: str, identify: Identify) -> Client:
    """Return the client with a token.

    Raises:
        ProtocolError: The token is not valid (401).
        AuthProviderError: The keys of its issuer cannot be fetched at the moment.
    """
    try:
        return Client(identify(token))
    except AuthenticationError as error:
        if str(error).startswith(_UNKNOWN_ISSUER):
            raise ProtocolError(401, "NoAuthProvider", "No auth provider found matching the given token") from error
        message = error.description or "Could not verify the token of the Authorization header"
        raise ProtocolError(401, "InvalidAuthHeader", message) from error


def administrator(credential: str, admin_keys: AdminKeys) -> Client:
    """Return the client with an admin key, which a colon and an identity in base64 may follow.

    Raises:
        ProtocolError: The key is not valid (401), or the identity is not (400).
    """
    key, separator, encoded = _DEPLOYMENT_TYPE.sub("", credential, count=1).partition(":")
    _check_admin_key(key, admin_keys)
    return Client(_acting_identity(encoded) if separator else None, is_admin=True)


def acting_administrator(credential: str, attributes: dict[str, Any], admin_keys: AdminKeys) -> Client:
    """Return the client with an admin key that acts as a user.

    Args:
        credential: The admin key.
        attributes: The identity.
        admin_keys: The admin keys.

    Raises:
        ProtocolError: The key is not valid (401), or the identity is not (400).
    """
    _check_admin_key(_DEPLOYMENT_TYPE.sub("", credential, count=1), admin_keys)
    try:
        return Client(identity_of(attributes), is_admin=True)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise ProtocolError(
            400, "HeaderParseFailure", "The identity to act as has an attribute of a wrong type"
        ) from error


def _check_admin_key(key: str, admin_keys: AdminKeys) -> None:
    """Check an admin key.

    Raises:
        ProtocolError: It is not valid (401).
    """
    if not admin_keys.is_valid(key):
        raise ProtocolError(401, "BadDeployKey", "The admin key is unknown or was revoked")


def _acting_identity(encoded: str) -> UserIdentity:
    """Return the identity that an administrator acts as.

    Raises:
        ProtocolError: It is not a JSON object in base64 (400).
    """
    try:
        attributes = msgspec.json.decode(base64.b64decode(encoded, validate=True), type=dict[str, Any])
        return identity_of(attributes)
    except (binascii.Error, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise ProtocolError(400, "HeaderParseFailure", "The identity to act as must be JSON in base64") from error


def identity_of(attributes: dict[str, Any]) -> UserIdentity:
    """Return the identity with some attributes in camelCase. Those without a field of their own become claims.

    Raises:
        ValueError: An attribute has a wrong type.
    """
    known = UserIdentity.__struct_encode_fields__
    issuer, _, subject = str(attributes.get("tokenIdentifier", "")).rpartition("|")
    fields: dict[str, Any] = {"issuer": issuer or _ISSUER, "subject": subject or "admin"}
    fields |= {name: value for name, value in attributes.items() if name in known}
    others = {name: value for name, value in attributes.items() if name not in (*known, "tokenIdentifier")}
    fields["claims"] = others | msgspec.convert(attributes.get("claims") or {}, dict[str, Any])
    return msgspec.convert(fields, UserIdentity)
