"""`UserIdentity`: the caller of a function, as an issuer of credentials names them."""

from __future__ import annotations

from typing import Any

import msgspec


class UserIdentity(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The identity of a caller. The fields are those of Convex, with Python names; in JSON they are camelCase.

    Attributes:
        subject: The caller, as the issuer names them.
        issuer: The authority that vouches for the identity.
        name: A name for people.
        email: The email address, if the issuer gives one.
        scopes: The scopes of the credential.
        claims: Further claims of the issuer. With a JWT these are all claims of the token.
        given_name: The given name.
        family_name: The family name.
        nickname: The nickname.
        preferred_username: The name that the user prefers.
        profile_url: The URL of the profile page.
        picture_url: The URL of the picture.
        website_url: The URL of the user's website.
        email_verified: Whether the issuer has verified the email address.
        gender: The gender.
        birthday: The birthday, as the issuer writes it.
        timezone: The time zone, such as Europe/Berlin.
        language: The language, such as de-DE.
        phone_number: The phone number.
        phone_number_verified: Whether the issuer has verified the phone number.
        address: The postal address.
        updated_at: The time of the last change of these values, as the issuer writes it or in RFC 3339.
    """

    subject: str
    issuer: str
    name: str | None = None
    email: str | None = None
    scopes: tuple[str, ...] = ()
    claims: dict[str, Any] = msgspec.field(default_factory=dict)
    given_name: str | None = None
    family_name: str | None = None
    nickname: str | None = None
    preferred_username: str | None = None
    profile_url: str | None = None
    picture_url: str | None = None
    website_url: str | None = None
    email_verified: bool | None = None
    gender: str | None = None
    birthday: str | None = None
    timezone: str | None = None
    language: str | None = None
    phone_number: str | None = None
    phone_number_verified: bool | None = None
    address: str | None = None
    updated_at: str | None = None

    @property
    def token_identifier(self) -> str:
        """The identity as one text that no other issuer can produce."""
        return f"{self.issuer}|{self.subject}"
