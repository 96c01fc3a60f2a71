"""Runs inside an environment with the vendors' packages: verifies and signs deliveries with them.

The standard input is a JSON list of deliveries. The output is the verdict on each, or the headers of one to be signed.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any


def twilio(case: dict[str, Any]) -> Any:
    """Verify or sign with Twilio's package."""
    from urllib.parse import parse_qsl

    from twilio.request_validator import RequestValidator  # type: ignore[import-not-found]

    validator, fields = RequestValidator(case["secret"]), dict(parse_qsl(case["body"], keep_blank_values=True))
    if case["signs"]:
        return {"X-Twilio-Signature": validator.compute_signature(case["url"], fields)}
    return validator.validate(case["url"], fields, case["headers"]["X-Twilio-Signature"])


def paddle(case: dict[str, Any]) -> Any:
    """Verify or sign with Paddle's package."""
    from paddle_billing.Notifications import Secret, Verifier  # type: ignore[import-not-found]
    from paddle_billing.Notifications.PaddleSignature import PaddleSignature  # type: ignore[import-not-found]

    if case["signs"]:
        message = f"{case['at']}:{case['body']}".encode()
        signature = PaddleSignature.calculate_hmac(case["secret"], message).hexdigest()
        return {"Paddle-Signature": f"ts={case['at']};h1={signature}"}
    request = SimpleNamespace(headers=case["headers"], body=case["body"].encode())
    return Verifier(3600).verify(request, Secret(case["secret"]))


def workos(case: dict[str, Any]) -> Any:
    """Verify with WorkOS's package, which cannot sign."""
    from workos.webhooks._verification import verify_header  # type: ignore[import-not-found]

    verify_header(
        event_body=case["body"].encode(), event_signature=case["headers"]["WorkOS-Signature"], secret=case["secret"]
    )
    return True


def polar(case: dict[str, Any]) -> Any:
    """Verify with Polar's package, which cannot sign."""
    from polar.webhooks import validate_event  # type: ignore[import-not-found]

    validate_event(case["body"], case["headers"], case["secret"], frozenset({"order.paid"}), lambda payload: payload)
    return True


def resend(case: dict[str, Any]) -> Any:
    """Verify with Resend's package, which cannot sign."""
    import resend as package  # type: ignore[import-not-found]

    names = {"id": "svix-id", "timestamp": "svix-timestamp", "signature": "svix-signature"}
    headers = {name: case["headers"][header] for name, header in names.items()}
    package.Webhooks.verify({"payload": case["body"], "headers": headers, "webhook_secret": case["secret"]})
    return True


def discord(case: dict[str, Any]) -> Any:
    """Verify or sign with PyNaCl, which Discord's documentation uses."""
    from nacl.signing import SigningKey, VerifyKey  # type: ignore[import-not-found]

    if case["signs"]:
        signed = SigningKey(bytes.fromhex(case["seed"])).sign(f"{case['at']}{case['body']}".encode())
        return {"X-Signature-Ed25519": signed.signature.hex(), "X-Signature-Timestamp": str(case["at"])}
    headers = case["headers"]
    message = f"{headers['X-Signature-Timestamp']}{case['body']}".encode()
    VerifyKey(bytes.fromhex(case["secret"])).verify(message, bytes.fromhex(headers["X-Signature-Ed25519"]))
    return True


def verdict(case: dict[str, Any]) -> Any:
    """Return what the vendor's package says of a delivery. Its errors are rejections."""
    try:
        return globals()[case["vendor"]](case)
    except ImportError:
        raise
    except Exception:
        return False


if __name__ == "__main__":
    json.dump([verdict(case) for case in json.load(sys.stdin)], sys.stdout)
