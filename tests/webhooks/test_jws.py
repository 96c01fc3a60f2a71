"""Tokens that are taken apart, with signatures of PyJWT."""

import base64
import json
import tracemalloc
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from flask_convex_http import VerificationError
from flask_convex_http.webhooks.jws import Jws

KEY = ec.generate_private_key(ec.SECP256R1())
OTHERS = [ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1())]


def token(**header: Any) -> str:
    """Return a signed token."""
    return jwt.encode({"sub": "one"}, KEY, "ES256", headers=header)


def part(value: object) -> str:
    """Return an object as a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_token_is_verified_with_its_key_and_algorithm() -> None:
    """A token has its header and claims, and no other key or algorithm verifies it."""
    found = Jws.of(token(kid="1"))
    assert (found.header["kid"], found.claims) == ("1", {"sub": "one"})
    assert found.is_signed("ES256", KEY.public_key())
    assert not found.is_signed("RS256", KEY.public_key())
    for other in OTHERS:
        assert not found.is_signed("ES256", other.public_key())
    assert not found.is_signed("ES256", rsa.generate_private_key(65537, 2048).public_key())
    assert not found.is_signed("ES256", "no key")


def test_header_does_not_choose() -> None:
    """A token without the algorithm in its header, with another one or with critical extensions is not signed."""
    _, claims, signature = token().split(".")
    for header in ({}, {"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256", "crit": ["b64"], "b64": False}):
        assert not Jws.of(f"{part(header)}.{claims}.{signature}").is_signed("ES256", KEY.public_key())
    assert not Jws.of(token(crit=["b64"])).is_signed("ES256", KEY.public_key())


def test_signature_has_one_spelling() -> None:
    """A part with padding, unused bits, white space or the other alphabet is malformed."""
    whole = token()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    unused = whole[:-1] + last[last.index(whole[-1]) ^ 1]
    for other in (f"{whole}=", f"{whole}==", f"{whole} ", f" {whole}", f"{whole}\n", unused, f"{whole}+/"):
        with pytest.raises(VerificationError) as caught:
            Jws.of(other).is_signed("ES256", KEY.public_key())
        assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "é.b.c", "e30.W10.AA", f"{part([])}.e30.AA", "e30.{.AA"]
)
def test_garbage_is_malformed(text: str) -> None:
    """A text that is no token is malformed, when it is taken apart or when its parts are read."""
    with pytest.raises(VerificationError) as caught:
        _ = (lambda found: (found.header, found.claims))(Jws.of(text))
    assert caught.value.reason == "malformed"


def test_headers_of_forgeries_take_little_memory() -> None:
    """Forged tokens whose headers have thousands of objects leave at most 4 MiB behind."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100):
            for count in (1400, 2900):
                header = part({"number": number, "x": [{}] * count})
                assert len(Jws.of(f"{header}.e30.AAAA").header["x"]) == count
        assert tracemalloc.get_traced_memory()[0] - before < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()
