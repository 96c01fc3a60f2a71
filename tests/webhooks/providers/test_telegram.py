"""Webhooks of Telegram bots."""

from flask_convex_http import Telegram
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestTelegram(SenderContract):
    """Updates with the secret in a header."""

    build = Telegram
    body = b'{"update_id": 10000, "message": {"text": "/start"}}'
    event = ("10000", "message")
    needed = ("X-Telegram-Bot-Api-Secret-Token",)
    secret, other_secret = "the_secret_in_use", "the_secret_of_another"
    signs_body = False

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Return the secret in its header."""
        return {"X-Telegram-Bot-Api-Secret-Token": secret}

    def test_update_has_one_object(self) -> None:
        """A body that is no update, or has two objects, is malformed, and the data is the object."""
        for body in (b'{"update_id": 1}', b'{"update_id": 1, "message": {}, "poll": {}}', b"[]", b'{"message": {}}'):
            assert self.rejection_of_body(body) == "malformed"
        assert self.provider().verify(self.headers(), self.body, now=NOW * 1000).data == {"text": "/start"}
