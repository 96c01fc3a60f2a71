"""flask_convex_http: Convex's HTTP actions, functions and documents for Flask, on SQLite or PostgreSQL.

A request goes down through the folders of the package:

1. `web/`: Flask matches a URL rule that `HttpRouter` registered. The view limits the body, checks the credential if the
   handler asks for one, and calls the handler with a ctx.
2. `runtime/`: the handler runs a function with `ctx.run_query(items.get, id=...)`. The runtime opens a snapshot or a
   transaction.
3. `functions/`: the arguments and the result are validated against the function's annotations.
4. `database/`: the function reads and writes documents through `ctx.db`.
5. `engines/`: rows are read and written in SQL, and the transaction is committed.

A webhook goes `web/`, `inbox/`, `runtime/`. Scheduled work goes `scheduling/`, `worker/`, `runtime/`. Files go
`storage/`, `storage/blobs/`. The root has the wiring (`extension`, `backend`, `config`) and what every folder uses.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from flask_convex_http.credentials import CredentialInfo as CredentialInfo
from flask_convex_http.credentials import IssuedCredential as IssuedCredential
from flask_convex_http.database.pages import Page as Page
from flask_convex_http.database.pages import PaginationOptions as PaginationOptions
from flask_convex_http.errors import ArgumentRangeError as ArgumentRangeError
from flask_convex_http.errors import ArgumentValidationError as ArgumentValidationError
from flask_convex_http.errors import AuthenticationError as AuthenticationError
from flask_convex_http.errors import AuthProviderError as AuthProviderError
from flask_convex_http.errors import BlobNotFoundError as BlobNotFoundError
from flask_convex_http.errors import CallInProgressError as CallInProgressError
from flask_convex_http.errors import ConfigurationError as ConfigurationError
from flask_convex_http.errors import ConvexError as ConvexError
from flask_convex_http.errors import ConvexHTTPError as ConvexHTTPError
from flask_convex_http.errors import DeadLetterError as DeadLetterError
from flask_convex_http.errors import DocumentNotFoundError as DocumentNotFoundError
from flask_convex_http.errors import DocumentValidationError as DocumentValidationError
from flask_convex_http.errors import EngineError as EngineError
from flask_convex_http.errors import FunctionCallError as FunctionCallError
from flask_convex_http.errors import FunctionLimitError as FunctionLimitError
from flask_convex_http.errors import FunctionNotFoundError as FunctionNotFoundError
from flask_convex_http.errors import HistoryError as HistoryError
from flask_convex_http.errors import InvalidCursorError as InvalidCursorError
from flask_convex_http.errors import KeyInUseError as KeyInUseError
from flask_convex_http.errors import MigrationRefusedError as MigrationRefusedError
from flask_convex_http.errors import MigrationRequiredError as MigrationRequiredError
from flask_convex_http.errors import MissingSecretError as MissingSecretError
from flask_convex_http.errors import MutationTimeoutError as MutationTimeoutError
from flask_convex_http.errors import NoRetry as NoRetry
from flask_convex_http.errors import NotUniqueError as NotUniqueError
from flask_convex_http.errors import OverloadedError as OverloadedError
from flask_convex_http.errors import PayloadTooLargeError as PayloadTooLargeError
from flask_convex_http.errors import QueryError as QueryError
from flask_convex_http.errors import QueryRangeError as QueryRangeError
from flask_convex_http.errors import RateLimitedError as RateLimitedError
from flask_convex_http.errors import RegistrationError as RegistrationError
from flask_convex_http.errors import RequestError as RequestError
from flask_convex_http.errors import ReturnsValidationError as ReturnsValidationError
from flask_convex_http.errors import SchedulingError as SchedulingError
from flask_convex_http.errors import StorageIdError as StorageIdError
from flask_convex_http.errors import UnavailableError as UnavailableError
from flask_convex_http.errors import UndoRefusedError as UndoRefusedError
from flask_convex_http.errors import UniqueConstraintError as UniqueConstraintError
from flask_convex_http.errors import UnstorableValueError as UnstorableValueError
from flask_convex_http.errors import VerificationError as VerificationError
from flask_convex_http.errors import VerificationUnavailableError as VerificationUnavailableError
from flask_convex_http.errors import WebhookFailedError as WebhookFailedError
from flask_convex_http.extension import ConvexHTTP as ConvexHTTP
from flask_convex_http.function_api.options import FunctionApi as FunctionApi
from flask_convex_http.functions.decorators import action as action
from flask_convex_http.functions.decorators import internal_action as internal_action
from flask_convex_http.functions.decorators import internal_mutation as internal_mutation
from flask_convex_http.functions.decorators import internal_query as internal_query
from flask_convex_http.functions.decorators import mutation as mutation
from flask_convex_http.functions.decorators import query as query
from flask_convex_http.history.rows import Change as Change
from flask_convex_http.history.rows import Commit as Commit
from flask_convex_http.history.rows import Revision as Revision
from flask_convex_http.identities import OIDC as OIDC
from flask_convex_http.identities import CustomJWT as CustomJWT
from flask_convex_http.identities import UserIdentity as UserIdentity
from flask_convex_http.ids import Id as Id
from flask_convex_http.retry import Retry as Retry
from flask_convex_http.runtime import ActionCtx as ActionCtx
from flask_convex_http.runtime import MutationCtx as MutationCtx
from flask_convex_http.runtime import QueryCtx as QueryCtx
from flask_convex_http.scheduling import Crons as Crons
from flask_convex_http.schema.documents import Document as Document
from flask_convex_http.schema.documents import Schema as Schema
from flask_convex_http.schema.documents import unique as unique
from flask_convex_http.schema.index_ranges import between as between
from flask_convex_http.schema.index_ranges import gt as gt
from flask_convex_http.schema.index_ranges import gte as gte
from flask_convex_http.schema.index_ranges import lt as lt
from flask_convex_http.schema.index_ranges import lte as lte
from flask_convex_http.schema.renames import renamed_from as renamed_from
from flask_convex_http.schema.system_tables import ScheduledFunction as ScheduledFunction
from flask_convex_http.schema.system_tables import StoredFile as StoredFile
from flask_convex_http.schema.system_tables import WebhookDelivery as WebhookDelivery
from flask_convex_http.storage.direct_uploads import DirectUpload as DirectUpload
from flask_convex_http.web.cors import Cors as Cors
from flask_convex_http.web.guards.auth import require_api_key as require_api_key
from flask_convex_http.web.guards.auth import require_bearer as require_bearer
from flask_convex_http.web.guards.auth import require_identity as require_identity
from flask_convex_http.web.guards.rate_limit import rate_limit as rate_limit
from flask_convex_http.web.health import Health as Health
from flask_convex_http.web.openapi.options import OpenAPI as OpenAPI
from flask_convex_http.web.requests.requests import read_json as read_json
from flask_convex_http.web.responses.responses import error_response as error_response
from flask_convex_http.web.responses.responses import json_errors as json_errors
from flask_convex_http.web.responses.responses import json_response as json_response
from flask_convex_http.web.routing.router import HttpRouter as HttpRouter
from flask_convex_http.web.streams.live import LiveQuery as LiveQuery
from flask_convex_http.web.webhooks.webhook_handlers import WebhookHandlers as WebhookHandlers
from flask_convex_http.webhooks import Content as Content
from flask_convex_http.webhooks import Delivery as Delivery
from flask_convex_http.webhooks import EcdsaSignature as EcdsaSignature
from flask_convex_http.webhooks import Ed25519Signature as Ed25519Signature
from flask_convex_http.webhooks import EventOptions as EventOptions
from flask_convex_http.webhooks import GitHub as GitHub
from flask_convex_http.webhooks import Handshake as Handshake
from flask_convex_http.webhooks import HmacSignature as HmacSignature
from flask_convex_http.webhooks import JwtSignature as JwtSignature
from flask_convex_http.webhooks import Profile as Profile
from flask_convex_http.webhooks import Provider as Provider
from flask_convex_http.webhooks import SharedSecret as SharedSecret
from flask_convex_http.webhooks import Shopify as Shopify
from flask_convex_http.webhooks import Slack as Slack
from flask_convex_http.webhooks import StandardWebhooks as StandardWebhooks
from flask_convex_http.webhooks import Stripe as Stripe
from flask_convex_http.webhooks import Svix as Svix
from flask_convex_http.webhooks import WebhookEvent as WebhookEvent
from flask_convex_http.webhooks import from_env as from_env
from flask_convex_http.webhooks import per_tenant as per_tenant
from flask_convex_http.webhooks import providers as _providers

if _TYPE_CHECKING:
    from flask_convex_http.webhooks.providers import Adyen as Adyen
    from flask_convex_http.webhooks.providers import AppStore as AppStore
    from flask_convex_http.webhooks.providers import AwsSns as AwsSns
    from flask_convex_http.webhooks.providers import Bitbucket as Bitbucket
    from flask_convex_http.webhooks.providers import CalCom as CalCom
    from flask_convex_http.webhooks.providers import Calendly as Calendly
    from flask_convex_http.webhooks.providers import Discord as Discord
    from flask_convex_http.webhooks.providers import ElevenLabs as ElevenLabs
    from flask_convex_http.webhooks.providers import GitLab as GitLab
    from flask_convex_http.webhooks.providers import GooglePubSub as GooglePubSub
    from flask_convex_http.webhooks.providers import HubSpot as HubSpot
    from flask_convex_http.webhooks.providers import Intercom as Intercom
    from flask_convex_http.webhooks.providers import LemonSqueezy as LemonSqueezy
    from flask_convex_http.webhooks.providers import Linear as Linear
    from flask_convex_http.webhooks.providers import Mailgun as Mailgun
    from flask_convex_http.webhooks.providers import Meta as Meta
    from flask_convex_http.webhooks.providers import Mux as Mux
    from flask_convex_http.webhooks.providers import Notion as Notion
    from flask_convex_http.webhooks.providers import Paddle as Paddle
    from flask_convex_http.webhooks.providers import PayPal as PayPal
    from flask_convex_http.webhooks.providers import Paystack as Paystack
    from flask_convex_http.webhooks.providers import Plaid as Plaid
    from flask_convex_http.webhooks.providers import Polar as Polar
    from flask_convex_http.webhooks.providers import Postmark as Postmark
    from flask_convex_http.webhooks.providers import Razorpay as Razorpay
    from flask_convex_http.webhooks.providers import Resend as Resend
    from flask_convex_http.webhooks.providers import RevenueCat as RevenueCat
    from flask_convex_http.webhooks.providers import SendGrid as SendGrid
    from flask_convex_http.webhooks.providers import Sentry as Sentry
    from flask_convex_http.webhooks.providers import Square as Square
    from flask_convex_http.webhooks.providers import Telegram as Telegram
    from flask_convex_http.webhooks.providers import Twilio as Twilio
    from flask_convex_http.webhooks.providers import Twitch as Twitch
    from flask_convex_http.webhooks.providers import Typeform as Typeform
    from flask_convex_http.webhooks.providers import Vercel as Vercel
    from flask_convex_http.webhooks.providers import WorkOS as WorkOS
    from flask_convex_http.webhooks.providers import Zoom as Zoom
else:

    def __getattr__(name: str) -> object:
        """Import the provider of a sender when it is first asked for."""
        return getattr(_providers, name)

    def __dir__() -> list[str]:
        return [*globals(), *_providers.FILES]
