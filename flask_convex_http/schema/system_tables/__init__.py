"""The package's own tables.

Applications read `_storage`, `_scheduled_functions` and `_webhooks` through `ctx.db.system`. Functions cannot reach the
other tables. All times are milliseconds since the epoch. Each module has the tables of one service.
"""

from __future__ import annotations

from flask_convex_http.schema.documents import Document
from flask_convex_http.schema.history_tables import CommitKey, CommitRow
from flask_convex_http.schema.system_tables.credentials import AccessToken as AccessToken
from flask_convex_http.schema.system_tables.credentials import ApiKey as ApiKey
from flask_convex_http.schema.system_tables.files import StoredFile as StoredFile
from flask_convex_http.schema.system_tables.files import UsedUpload as UsedUpload
from flask_convex_http.schema.system_tables.idempotency import IdempotencyKey as IdempotencyKey
from flask_convex_http.schema.system_tables.jobs import Attempt as Attempt
from flask_convex_http.schema.system_tables.jobs import CronJob as CronJob
from flask_convex_http.schema.system_tables.jobs import CronRun as CronRun
from flask_convex_http.schema.system_tables.jobs import ScheduledFunction as ScheduledFunction
from flask_convex_http.schema.system_tables.once import OnceCall as OnceCall
from flask_convex_http.schema.system_tables.rate_limits import RateLimitBucket as RateLimitBucket
from flask_convex_http.schema.system_tables.settings import Setting as Setting
from flask_convex_http.schema.system_tables.webhooks import StoredResponse as StoredResponse
from flask_convex_http.schema.system_tables.webhooks import WebhookAttempt as WebhookAttempt
from flask_convex_http.schema.system_tables.webhooks import WebhookContent as WebhookContent
from flask_convex_http.schema.system_tables.webhooks import WebhookDelivery as WebhookDelivery
from flask_convex_http.schema.system_tables.webhooks import WebhookRequest as WebhookRequest
from flask_convex_http.schema.system_tables.webhooks import WebhookTurn as WebhookTurn

#: Tables that applications may read through `ctx.db.system`.
READABLE: tuple[type[Document], ...] = (StoredFile, ScheduledFunction, WebhookDelivery)
DOCUMENTS: tuple[type[Document], ...] = (
    StoredFile,
    UsedUpload,
    ScheduledFunction,
    CronJob,
    CronRun,
    OnceCall,
    RateLimitBucket,
    WebhookDelivery,
    WebhookRequest,
    WebhookContent,
    WebhookTurn,
    IdempotencyKey,
    ApiKey,
    AccessToken,
    Setting,
    CommitRow,
    CommitKey,
)
