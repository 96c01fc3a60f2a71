"""flask_convex_http: Convex's HTTP actions, functions and documents for Flask, on SQLite.

A request's way through the package:

1. Flask matches a URL rule that `HttpRouter` registered (`web/router`).
2. The view bounds the body, checks the API key or token if the handler asks for one (`web/auth`), and calls the
   handler with a ctx.
3. The handler runs functions: `ctx.run_query(items.get, id=...)` (`context`).
4. `runtime` checks the arguments against the function's annotations and opens a snapshot or a transaction.
5. The function reads and writes documents through `ctx.db` (`database`, `query_builder`), which the engine turns
   into SQL (`engines/`).
6. The result is checked, the transaction committed, and what the handler returns becomes a response
   (`web/responses`); errors become the status their class says.
7. What was scheduled meanwhile (`scheduler`, `jobs`) a `worker` runs, in this process or another.
"""

from flask_convex_http.context import ActionCtx as ActionCtx
from flask_convex_http.context import MutationCtx as MutationCtx
from flask_convex_http.context import QueryCtx as QueryCtx
from flask_convex_http.crons import Crons as Crons
from flask_convex_http.errors import ArgumentValidationError as ArgumentValidationError
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
from flask_convex_http.errors import FunctionNotFoundError as FunctionNotFoundError
from flask_convex_http.errors import InvalidCursorError as InvalidCursorError
from flask_convex_http.errors import MigrationRefusedError as MigrationRefusedError
from flask_convex_http.errors import MigrationRequiredError as MigrationRequiredError
from flask_convex_http.errors import MissingSecretError as MissingSecretError
from flask_convex_http.errors import NotUniqueError as NotUniqueError
from flask_convex_http.errors import OverloadedError as OverloadedError
from flask_convex_http.errors import PayloadTooLargeError as PayloadTooLargeError
from flask_convex_http.errors import QueryError as QueryError
from flask_convex_http.errors import RateLimitedError as RateLimitedError
from flask_convex_http.errors import RegistrationError as RegistrationError
from flask_convex_http.errors import RequestError as RequestError
from flask_convex_http.errors import ReturnsValidationError as ReturnsValidationError
from flask_convex_http.errors import SchedulingError as SchedulingError
from flask_convex_http.errors import StorageIdError as StorageIdError
from flask_convex_http.errors import UnavailableError as UnavailableError
from flask_convex_http.errors import UniqueConstraintError as UniqueConstraintError
from flask_convex_http.errors import VerificationError as VerificationError
from flask_convex_http.errors import WebhookFailedError as WebhookFailedError
from flask_convex_http.extension import ConvexHTTP as ConvexHTTP
from flask_convex_http.functions import action as action
from flask_convex_http.functions import internal_action as internal_action
from flask_convex_http.functions import internal_mutation as internal_mutation
from flask_convex_http.functions import internal_query as internal_query
from flask_convex_http.functions import mutation as mutation
from flask_convex_http.functions import query as query
from flask_convex_http.identity import UserIdentity as UserIdentity
from flask_convex_http.ids import Id as Id
from flask_convex_http.query_builder import Page as Page
from flask_convex_http.ranges import between as between
from flask_convex_http.ranges import gt as gt
from flask_convex_http.ranges import gte as gte
from flask_convex_http.ranges import lt as lt
from flask_convex_http.ranges import lte as lte
from flask_convex_http.retry import Retry as Retry
from flask_convex_http.schema import Document as Document
from flask_convex_http.schema import Schema as Schema
from flask_convex_http.schema import unique as unique
from flask_convex_http.storage import DirectUpload as DirectUpload
from flask_convex_http.system import ScheduledFunction as ScheduledFunction
from flask_convex_http.system import StoredFile as StoredFile
from flask_convex_http.system import WebhookDelivery as WebhookDelivery
from flask_convex_http.web.auth import require_api_key as require_api_key
from flask_convex_http.web.auth import require_bearer as require_bearer
from flask_convex_http.web.cors import Cors as Cors
from flask_convex_http.web.rate_limit import rate_limit as rate_limit
from flask_convex_http.web.requests import read_json as read_json
from flask_convex_http.web.responses import error_response as error_response
from flask_convex_http.web.responses import json_errors as json_errors
from flask_convex_http.web.responses import json_response as json_response
from flask_convex_http.web.router import HttpRouter as HttpRouter
from flask_convex_http.webhooks import GitHub as GitHub
from flask_convex_http.webhooks import HmacSignature as HmacSignature
from flask_convex_http.webhooks import Shopify as Shopify
from flask_convex_http.webhooks import Slack as Slack
from flask_convex_http.webhooks import StandardWebhooks as StandardWebhooks
from flask_convex_http.webhooks import Stripe as Stripe
from flask_convex_http.webhooks import Svix as Svix
from flask_convex_http.webhooks import WebhookEvent as WebhookEvent
from flask_convex_http.webhooks import from_env as from_env
