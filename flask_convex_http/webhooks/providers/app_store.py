"""App Store Server Notifications, version 2: a JWS in the body, with a chain of certificates up to Apple's root.

Nothing is fetched: the chain comes with each notification, and the root certificate is known by its digest.
Rules: https://developer.apple.com/documentation/appstoreservernotifications/responsebodyv2, and
`appstoreserverlibrary/signed_data_verifier.py` of the package `app-store-server-library`

Stricter than the package without its online checks: the certificates must be valid when a notification arrives, not
when it says that it was signed, and the third one must be the root. More lenient than the package with them: whether a
certificate was revoked is not asked.

The time is not compared with now, because it is not published whether a retry is signed anew. The `notificationUUID`
tells duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.certificates import CertificateChains, load_certificate
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.jws import Jws
from flask_convex_http.webhooks.parsing import parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile

Environment = Literal["Production", "Sandbox"]

_ALGORITHM = "ES256"
_ENVIRONMENTS: tuple[Environment, ...] = ("Production", "Sandbox")
#: The SHA-256 of the certificate "Apple Root CA - G3", https://www.apple.com/certificateauthority/.
_APPLE_ROOT = bytes.fromhex("63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179")
#: The extensions with which Apple marks the certificates that sign receipts, and those that issue them.
_LEAF_MARK, _ISSUER_MARK = "1.2.840.113635.100.6.11.1", "1.2.840.113635.100.6.2.1"
#: The fields of a notification of which one has the app.
_SUBJECTS = ("data", "summary", "externalPurchaseToken", "appData")
#: The signed parts of the data, and the names under which they are in `event.data`, decoded.
_PARTS = {"signedTransactionInfo": "transactionInfo", "signedRenewalInfo": "renewalInfo"}


class AppStore(Provider):
    """Notifications of one app in the App Store, version 2.

    The type of an event is the `notificationType`, with the `subtype` after a full stop if there is one. The event's
    data is the notification's `data`, with the decoded transaction as `transactionInfo` and the decoded renewal as
    `renewalInfo`.

    Args:
        bundle_id: The bundle id of the app.
        app_apple_id: The Apple ID of the app, a number, as App Store Connect shows it. Required in production.
        environment: "Production" or "Sandbox", each of which has a URL of its own in App Store Connect.
        root_certificates: Further root certificates, as PEM or DER, for tests. By default only Apple's is accepted.

    Raises:
        RegistrationError: An argument is invalid.
    """

    name = "app_store"
    issues_secrets = False
    has_secrets = False
    profile = Profile(
        # The JWS in the body, not its bytes.
        signed=(),
        id_from="body.signedPayload.notificationUUID",
        id_is_signed=True,
        # Apple does not publish its timeout.
        timeout=timedelta(seconds=10),
        # In production. A sandbox does not retry.
        retries=tuple(timedelta(hours=hours) for hours in (1, 12, 24, 48, 72)),
        source="https://developer.apple.com/documentation/appstoreservernotifications/responding-to-app-store-server-notifications",
    )

    def __init__(
        self,
        *,
        bundle_id: str,
        app_apple_id: int | None = None,
        environment: Environment = "Production",
        root_certificates: Sequence[bytes] = (),
    ) -> None:
        super().__init__(secret=None)
        if not isinstance(bundle_id, str) or not bundle_id:
            raise RegistrationError("bundle_id must be the bundle id of the app, such as com.example.shop")
        if environment not in _ENVIRONMENTS:
            raise RegistrationError(f"environment must be one of {', '.join(_ENVIRONMENTS)}, not {environment!r}")
        is_number = isinstance(app_apple_id, int) and not isinstance(app_apple_id, bool)
        if not is_number and (app_apple_id is not None or environment == "Production"):
            raise RegistrationError(
                "app_apple_id must be the Apple ID of the app, a number such as 1234567890: App Store Connect shows it "
                "under App Information"
            )
        self._bundle_id, self._app_apple_id, self._environment = bundle_id, app_apple_id, environment
        self._chains = CertificateChains(_digests(root_certificates) | {_APPLE_ROOT}, (_LEAF_MARK, _ISSUER_MARK))

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Verify the chain of certificates and the JWS, and compare the app."""
        jws = Jws.of(_token(delivery))
        if not jws.names(_ALGORITHM):
            raise VerificationError("malformed", "Webhook payload is not signed as the App Store signs")
        key = self._chains.signer_key(_chain(jws.header), delivery.now)
        if key is None or not jws.is_signed(_ALGORITHM, key):
            return False
        if not self._is_own(jws.claims):
            raise VerificationError("no-match", "Webhook notification is of another app or environment")
        return True

    def read(self, delivery: Delivery) -> Content:
        """Read a notification."""
        claims = Jws.of(_token(delivery)).claims
        subtype = claims.get("subtype")
        kind = text_field(claims, "notificationType")
        found = _subject(claims) or claims
        # The signature of the notification covers the parts, which have signatures of their own.
        parts = {name: Jws.of(found[part]).claims for part, name in _PARTS.items() if isinstance(found.get(part), str)}
        return Content(
            id=text_field(claims, "notificationUUID"),
            type=f"{kind}.{subtype}" if isinstance(subtype, str) and subtype else kind,
            data={**found, **parts},
            payload=claims,
        )

    def _is_own(self, claims: Mapping[str, Any]) -> bool:
        subject = _subject(claims)
        if self._environment == "Production" and subject.get("appAppleId") != self._app_apple_id:
            return False
        return subject.get("bundleId") == self._bundle_id and _environment(claims, subject) == self._environment


def _subject(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a notification that has the app, or an empty object."""
    found = (claims[name] for name in _SUBJECTS if isinstance(claims.get(name), dict))
    return next(found, {})


def _environment(claims: Mapping[str, Any], subject: Mapping[str, Any]) -> Any:
    """Return the environment of a notification. A token of an external purchase has it in its id."""
    if subject is not claims.get("externalPurchaseToken"):
        return subject.get("environment")
    return "Sandbox" if str(subject.get("externalPurchaseId")).startswith("SANDBOX") else "Production"


def _token(delivery: Delivery) -> str:
    return text_field(parse_object(delivery.body), "signedPayload")


def _chain(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the certificates in the header of a JWS: of the signer, of its issuer, and the root."""
    chain = header.get("x5c")
    if not isinstance(chain, list) or len(chain) != 3:
        raise VerificationError("malformed", "Webhook payload has no chain of three certificates")
    return tuple(chain)


def _digests(certificates: Sequence[bytes]) -> frozenset[bytes]:
    """Return the digests of root certificates."""
    if isinstance(certificates, bytes | str):
        raise RegistrationError("root_certificates is a list of certificates, each as the bytes of a file")
    try:
        return frozenset(hashlib.sha256(load_certificate(each)).digest() for each in certificates)
    except (ValueError, TypeError, AttributeError) as error:
        raise RegistrationError(f"root_certificates has something else than a certificate: {error}") from None
