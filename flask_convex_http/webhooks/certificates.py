"""Certificates that senders sign with: fetched from their hosts, or sent along with a delivery.

The `cryptography` package is imported when a certificate is first used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from flask_convex_http.errors import MissingSecretError, RegistrationError
from flask_convex_http.identities.fetch import FetchError, fetch, url_problem
from flask_convex_http.webhooks.encodings import decode_base64
from flask_convex_http.webhooks.signature_checks import Digest, rsa_matches

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Chains that are remembered. A sender has one or two at a time.
_MOST_CHAINS = 16


def fetch_certificate(url: str) -> Certificate:
    """Return the first certificate of a PEM file.

    Args:
        url: The URL, whose host was compared with an allow-list.

    Raises:
        FetchError: There is none, or it is not valid now.
        MissingSecretError: The cryptography package is not installed.
    """
    x509 = require_x509()
    _, body = fetch(url, accept="application/x-pem-file, application/pem-certificate-chain, */*")
    try:
        certificate: Certificate = x509.load_pem_x509_certificates(body)[0]
    except ValueError as error:
        raise FetchError(f"{url} is no certificate: {error}") from None
    if not is_valid(certificate, datetime.now(UTC)):
        raise FetchError(f"{url} is a certificate that is not valid now")
    return certificate


def is_valid(certificate: Certificate, moment: datetime) -> bool:
    """Return whether a moment is within the validity of a certificate."""
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def certificate_matches(certificate: Certificate, message: bytes, signature: bytes, digest: Digest) -> bool:
    """Return whether the RSA key of a certificate made a signature of a message, with PKCS #1 v1.5 padding."""
    return rsa_matches(certificate.public_key(), message, signature, digest)


def load_certificate(content: bytes) -> bytes:
    """Return a certificate as DER.

    Args:
        content: The certificate as PEM or DER.

    Raises:
        ValueError: It is none.
        MissingSecretError: The cryptography package is not installed.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    x509 = require_x509()
    is_pem = content.lstrip().startswith(b"-----BEGIN")
    loaded = x509.load_pem_x509_certificate(content) if is_pem else x509.load_der_x509_certificate(content)
    der: bytes = loaded.public_bytes(Encoding.DER)
    return der


class CertificateChains:
    """The chains of certificates that deliveries carry: the signer's, its issuer's, and a root.

    The signatures of a chain that is trusted are verified once. To verify them again for each delivery, or for each
    forgery with a genuine chain, takes ten times as long as the signature of a delivery. Thread-safe.

    Args:
        roots: The SHA-256 digests of the trusted roots.
        marks: The extensions that the signer's certificate and its issuer's must have, as dotted numbers.
    """

    def __init__(self, roots: Set[bytes], marks: tuple[str, str]) -> None:
        self._roots, self._marks = roots, marks
        self._trusted: dict[tuple[str, ...], _Chain] = {}

    def signer_key(self, chain: tuple[str, ...], now: float) -> Any:
        """Return the public key of the signer, or None if no trusted root vouches for it now.

        Args:
            chain: The three certificates as base64 of DER.
            now: When all of them must be valid, in milliseconds since the epoch.

        Raises:
            ValueError: The chain is malformed.
            MissingSecretError: The cryptography package is not installed.
        """
        found = self._trusted.get(chain) or self._verified(chain)
        return found.key if found and found.start <= now / 1000 <= found.end else None

    def _verified(self, chain: tuple[str, ...]) -> _Chain | None:
        """Return and remember a chain if each certificate was issued by the next one, at any time."""
        decoded = [decode_base64(certificate) for certificate in chain]
        if len(decoded) != 3 or hashlib.sha256(decoded[2]).digest() not in self._roots:  # before anything is parsed
            return None
        x509 = require_x509()
        leaf, issuer, root = (x509.load_der_x509_certificate(der) for der in decoded)
        if not (_has(leaf, self._marks[0]) and _has(issuer, self._marks[1]) and _is_authority(issuer)):
            return None
        if not (_has_issued(issuer, leaf) and _has_issued(root, issuer)):
            return None
        if len(self._trusted) >= _MOST_CHAINS:
            self._trusted.clear()
        trusted = self._trusted[chain] = _Chain.of((leaf, issuer, root))
        return trusted


class _Chain(NamedTuple):
    """A chain whose certificates were issued by a trusted root.

    Attributes:
        key: The public key of the signer.
        start: When all certificates have become valid, in seconds since the epoch.
        end: Until when all of them are valid.
    """

    key: Any
    start: float
    end: float

    @classmethod
    def of(cls, certificates: Sequence[Certificate]) -> _Chain:
        starts = [certificate.not_valid_before_utc.timestamp() for certificate in certificates]
        ends = [certificate.not_valid_after_utc.timestamp() for certificate in certificates]
        return cls(certificates[0].public_key(), max(starts), min(ends))


def _has(certificate: Certificate, extension: str) -> bool:
    return any(found.oid.dotted_string == extension for found in certificate.extensions)


def _is_authority(certificate: Certificate) -> bool:
    constraints = require_x509().BasicConstraints
    return any(isinstance(found.value, constraints) and found.value.ca for found in certificate.extensions)


def _has_issued(issuer: Certificate, certificate: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def checked_prefixes(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Check the beginnings of further URLs of certificates, such as those of a local stand-in for a cloud.

    Raises:
        RegistrationError: One is no URL, uses plain HTTP to another machine, or has no path, so that other hosts could
            begin with it.
    """
    for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
        problem = url_problem(prefix) or ("" if prefix.count("/") >= 3 else "must have a path, at least /")
        if isinstance(prefixes, str) or problem:
            raise RegistrationError(
                f'certificate_urls is a list of beginnings of URLs, such as ["http://localhost:4566/"]: {prefix!r} '
                f"{problem or 'is a text'}"
            )
    return tuple(prefixes)


def require_x509() -> Any:
    """Return the module of certificates of the cryptography package.

    Raises:
        MissingSecretError: The package is not installed.
    """
    try:
        from cryptography import x509
    except ImportError as error:
        raise MissingSecretError(
            "Certificates need the cryptography package: pip install 'cryptography>=42'",
            client_message="The verification needs a package that is not installed",
        ) from error
    return x509
