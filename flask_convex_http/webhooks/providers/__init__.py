"""Providers of single senders, one file each.

A file is imported when its class is first asked for, because an application has two or three of these senders. Its name
is also the name of the provider, and that of its sample events in `samples/`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask_convex_http.webhooks.providers.adyen import Adyen as Adyen
    from flask_convex_http.webhooks.providers.app_store import AppStore as AppStore
    from flask_convex_http.webhooks.providers.aws_sns import AwsSns as AwsSns
    from flask_convex_http.webhooks.providers.bitbucket import Bitbucket as Bitbucket
    from flask_convex_http.webhooks.providers.calcom import CalCom as CalCom
    from flask_convex_http.webhooks.providers.calendly import Calendly as Calendly
    from flask_convex_http.webhooks.providers.discord import Discord as Discord
    from flask_convex_http.webhooks.providers.elevenlabs import ElevenLabs as ElevenLabs
    from flask_convex_http.webhooks.providers.gitlab import GitLab as GitLab
    from flask_convex_http.webhooks.providers.google_pubsub import GooglePubSub as GooglePubSub
    from flask_convex_http.webhooks.providers.hubspot import HubSpot as HubSpot
    from flask_convex_http.webhooks.providers.intercom import Intercom as Intercom
    from flask_convex_http.webhooks.providers.lemonsqueezy import LemonSqueezy as LemonSqueezy
    from flask_convex_http.webhooks.providers.linear import Linear as Linear
    from flask_convex_http.webhooks.providers.mailgun import Mailgun as Mailgun
    from flask_convex_http.webhooks.providers.meta import Meta as Meta
    from flask_convex_http.webhooks.providers.mux import Mux as Mux
    from flask_convex_http.webhooks.providers.notion import Notion as Notion
    from flask_convex_http.webhooks.providers.paddle import Paddle as Paddle
    from flask_convex_http.webhooks.providers.paypal import PayPal as PayPal
    from flask_convex_http.webhooks.providers.paystack import Paystack as Paystack
    from flask_convex_http.webhooks.providers.plaid import Plaid as Plaid
    from flask_convex_http.webhooks.providers.polar import Polar as Polar
    from flask_convex_http.webhooks.providers.postmark import Postmark as Postmark
    from flask_convex_http.webhooks.providers.razorpay import Razorpay as Razorpay
    from flask_convex_http.webhooks.providers.resend import Resend as Resend
    from flask_convex_http.webhooks.providers.revenuecat import RevenueCat as RevenueCat
    from flask_convex_http.webhooks.providers.sendgrid import SendGrid as SendGrid
    from flask_convex_http.webhooks.providers.sentry import Sentry as Sentry
    from flask_convex_http.webhooks.providers.square import Square as Square
    from flask_convex_http.webhooks.providers.telegram import Telegram as Telegram
    from flask_convex_http.webhooks.providers.twilio import Twilio as Twilio
    from flask_convex_http.webhooks.providers.twitch import Twitch as Twitch
    from flask_convex_http.webhooks.providers.typeform import Typeform as Typeform
    from flask_convex_http.webhooks.providers.vercel import Vercel as Vercel
    from flask_convex_http.webhooks.providers.workos import WorkOS as WorkOS
    from flask_convex_http.webhooks.providers.zoom import Zoom as Zoom

#: The file of each class.
FILES = {
    "Adyen": "adyen",
    "AppStore": "app_store",
    "AwsSns": "aws_sns",
    "Bitbucket": "bitbucket",
    "CalCom": "calcom",
    "Calendly": "calendly",
    "Discord": "discord",
    "ElevenLabs": "elevenlabs",
    "GitLab": "gitlab",
    "GooglePubSub": "google_pubsub",
    "HubSpot": "hubspot",
    "Intercom": "intercom",
    "LemonSqueezy": "lemonsqueezy",
    "Linear": "linear",
    "Mailgun": "mailgun",
    "Meta": "meta",
    "Mux": "mux",
    "Notion": "notion",
    "Paddle": "paddle",
    "PayPal": "paypal",
    "Paystack": "paystack",
    "Plaid": "plaid",
    "Polar": "polar",
    "Postmark": "postmark",
    "Razorpay": "razorpay",
    "Resend": "resend",
    "RevenueCat": "revenuecat",
    "SendGrid": "sendgrid",
    "Sentry": "sentry",
    "Square": "square",
    "Telegram": "telegram",
    "Twilio": "twilio",
    "Twitch": "twitch",
    "Typeform": "typeform",
    "Vercel": "vercel",
    "WorkOS": "workos",
    "Zoom": "zoom",
}

# Type checkers do not see it, or they would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a provider.

        Raises:
            AttributeError: There is no such provider.
        """
        if name not in FILES:
            raise AttributeError(f"flask_convex_http has no attribute {name!r}")
        provider = getattr(import_module(f"{__name__}.{FILES[name]}"), name)
        globals()[name] = provider
        return provider
