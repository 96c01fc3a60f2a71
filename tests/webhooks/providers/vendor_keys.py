"""Runs inside an environment with the packages of Apple and Plaid.

The standard input is JSON. With `root`, the output is whether Apple's package verifies each of the payloads. With
`url`, it is the key that Plaid's package fetches from there.
"""

import base64
import json
import sys
from typing import Any


def apple(given: dict[str, Any]) -> list[bool]:
    """Return the verdicts of `app-store-server-library`."""
    from appstoreserverlibrary.models.Environment import Environment  # type: ignore[import-not-found]
    from appstoreserverlibrary.signed_data_verifier import (  # type: ignore[import-not-found]
        SignedDataVerifier,
        VerificationException,
    )

    root, app = base64.b64decode(given["root"]), given["app"]
    # Strict checks want extensions of certificates that those of the tests do not have.
    verifier = SignedDataVerifier([root], False, Environment.PRODUCTION, app, given["number"])
    verifier._chain_verifier.enable_strict_checks = False
    verdicts = []
    for payload in given["payloads"]:
        try:
            verifier.verify_and_decode_notification(payload)
            verdicts.append(True)
        except VerificationException:
            verdicts.append(False)
    return verdicts


def plaid(given: dict[str, Any]) -> dict[str, Any]:
    """Return the key that `plaid-python` fetches."""
    import plaid as package  # type: ignore[import-not-found]
    from plaid.api.plaid_api import PlaidApi  # type: ignore[import-not-found]
    from plaid.model.webhook_verification_key_get_request import (  # type: ignore[import-not-found]
        WebhookVerificationKeyGetRequest,
    )

    credentials = {"clientId": given["client_id"], "secret": given["secret"]}
    client = PlaidApi(package.ApiClient(package.Configuration(host=given["url"], api_key=credentials)))
    response = client.webhook_verification_key_get(WebhookVerificationKeyGetRequest(key_id=given["key_id"]))
    key: dict[str, Any] = response.to_dict()["key"]
    return key


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(apple(given) if "root" in given else plaid(given), sys.stdout)
