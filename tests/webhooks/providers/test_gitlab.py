"""GitLab's webhooks, with a secret token and with a signing token."""

import pytest

from flask_convex_http import GitLab, VerificationError
from tests.webhooks.providers.contract import NOW, Headers, SenderContract
from tests.webhooks.senders import OTHER_SECRET, SECRET, sign_standard

BODY = b'{"object_kind": "push", "ref": "refs/heads/main"}'


class TestGitLab(SenderContract):
    """Deliveries with a secret token, which signs nothing."""

    build = GitLab
    body = BODY
    event = ("k-1", "push")
    needed = ("X-Gitlab-Token",)
    signs_body = False

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Return the token in its header."""
        return {"X-Gitlab-Token": secret, "X-Gitlab-Event": "Push Hook", "Idempotency-Key": "k-1"}

    def test_older_gitlab_has_a_digest_as_the_id(self) -> None:
        """A delivery without an Idempotency-Key has a digest of its type and body as the id."""
        headers = {"X-Gitlab-Token": self.secret}
        event = self.provider().verify(headers, BODY, now=NOW * 1000)
        assert len(event.id) == 64


class TestGitLabSigned(SenderContract):
    """Deliveries with a signing token, signed by the standardwebhooks package."""

    build = GitLab
    body = BODY
    event = ("msg_1", "push")
    needed = ("webhook-signature", "webhook-id", "webhook-timestamp")
    timed = True
    secret, other_secret = SECRET, OTHER_SECRET
    unsigned_headers = ("X-Gitlab-Event",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign with the standardwebhooks package."""
        return {**sign_standard(secret, body, at), "X-Gitlab-Event": "Push Hook", "Idempotency-Key": "msg_1"}

    def test_missing_header_is_rejected(self) -> None:
        """A delivery without one of the signed headers is rejected, also with a token in place of the signature."""
        for name in self.needed:
            others = {key: value for key, value in self.headers().items() if key != name}
            for headers in (others, {**others, "X-Gitlab-Token": SECRET}):
                with pytest.raises(VerificationError):
                    self.provider().verify(headers, BODY, now=NOW * 1000)

    def test_webhook_can_move_to_a_signing_token(self) -> None:
        """With both secrets a delivery with either verifies."""
        provider = GitLab(secret=[SECRET, "a secret token"])
        assert provider.verify(self.headers(), BODY, now=NOW * 1000).secret_label == "secret 1"
        headers = {"X-Gitlab-Token": "a secret token"}
        assert provider.verify(headers, BODY, now=NOW * 1000).secret_label == "secret 2"
