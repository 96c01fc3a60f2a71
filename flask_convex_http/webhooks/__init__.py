"""Webhook providers: headers and a body enter, a verified `WebhookEvent` or a `VerificationError` leaves.

A new provider is one file beside these, a line here, and a line in the contract tests. Importing this package does not
import a vendor's library. That happens when a provider is first created.
"""

from flask_convex_http.webhooks.base import Provider as Provider
from flask_convex_http.webhooks.configured import EventOptions as EventOptions
from flask_convex_http.webhooks.events import Content as Content
from flask_convex_http.webhooks.events import Delivery as Delivery
from flask_convex_http.webhooks.events import Handshake as Handshake
from flask_convex_http.webhooks.events import WebhookEvent as WebhookEvent
from flask_convex_http.webhooks.github import GitHub as GitHub
from flask_convex_http.webhooks.hmac_signature import HmacSignature as HmacSignature
from flask_convex_http.webhooks.jwt_signature import JwtSignature as JwtSignature
from flask_convex_http.webhooks.profiles import Profile as Profile
from flask_convex_http.webhooks.public_key_signatures import EcdsaSignature as EcdsaSignature
from flask_convex_http.webhooks.public_key_signatures import Ed25519Signature as Ed25519Signature
from flask_convex_http.webhooks.secrets import EnvironmentSecret as EnvironmentSecret
from flask_convex_http.webhooks.secrets import LabelledSecret as LabelledSecret
from flask_convex_http.webhooks.secrets import Secret as Secret
from flask_convex_http.webhooks.secrets import Secrets as Secrets
from flask_convex_http.webhooks.secrets import from_env as from_env
from flask_convex_http.webhooks.secrets import resolve as resolve
from flask_convex_http.webhooks.shared_secret import SharedSecret as SharedSecret
from flask_convex_http.webhooks.shopify import Shopify as Shopify
from flask_convex_http.webhooks.slack import Slack as Slack
from flask_convex_http.webhooks.standard import StandardWebhooks as StandardWebhooks
from flask_convex_http.webhooks.stripe import Stripe as Stripe
from flask_convex_http.webhooks.svix import Svix as Svix
from flask_convex_http.webhooks.tenant_secrets import per_tenant as per_tenant
