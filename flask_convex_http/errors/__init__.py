"""Every error of the package.

`web/` turns an uncaught error into a response with its `status`. A mistake of the client is 4xx. A mistake of the
application is 500: it is logged with its traceback, and raised in tests as any error of a Flask view.

Errors of database drivers, object stores and vendors' libraries are translated in the folders that call them
(`engines/`, `storage/blobs/`, `webhooks/`).
"""

from flask_convex_http.errors.application import ConvexError as ConvexError
from flask_convex_http.errors.application import DeadLetterError as DeadLetterError
from flask_convex_http.errors.application import NoRetry as NoRetry
from flask_convex_http.errors.base import ConvexHTTPError as ConvexHTTPError
from flask_convex_http.errors.calls import ArgumentRangeError as ArgumentRangeError
from flask_convex_http.errors.calls import ArgumentValidationError as ArgumentValidationError
from flask_convex_http.errors.calls import CallInProgressError as CallInProgressError
from flask_convex_http.errors.calls import FunctionCallError as FunctionCallError
from flask_convex_http.errors.calls import FunctionLimitError as FunctionLimitError
from flask_convex_http.errors.calls import FunctionNotFoundError as FunctionNotFoundError
from flask_convex_http.errors.calls import ReturnsValidationError as ReturnsValidationError
from flask_convex_http.errors.calls import SchedulingError as SchedulingError
from flask_convex_http.errors.database import OTHER_RELEASE as OTHER_RELEASE
from flask_convex_http.errors.database import ConflictError as ConflictError
from flask_convex_http.errors.database import EngineError as EngineError
from flask_convex_http.errors.database import MutationInterruptedError as MutationInterruptedError
from flask_convex_http.errors.database import MutationTimeoutError as MutationTimeoutError
from flask_convex_http.errors.database import OverloadedError as OverloadedError
from flask_convex_http.errors.database import UnavailableError as UnavailableError
from flask_convex_http.errors.database import is_engine_failure as is_engine_failure
from flask_convex_http.errors.database import is_of_transaction as is_of_transaction
from flask_convex_http.errors.documents import DocumentNotFoundError as DocumentNotFoundError
from flask_convex_http.errors.documents import DocumentValidationError as DocumentValidationError
from flask_convex_http.errors.documents import HistoryError as HistoryError
from flask_convex_http.errors.documents import InvalidCursorError as InvalidCursorError
from flask_convex_http.errors.documents import NotUniqueError as NotUniqueError
from flask_convex_http.errors.documents import QueryError as QueryError
from flask_convex_http.errors.documents import QueryRangeError as QueryRangeError
from flask_convex_http.errors.documents import UndoRefusedError as UndoRefusedError
from flask_convex_http.errors.documents import UniqueConstraintError as UniqueConstraintError
from flask_convex_http.errors.documents import UnstorableValueError as UnstorableValueError
from flask_convex_http.errors.files import BlobNotFoundError as BlobNotFoundError
from flask_convex_http.errors.files import StorageIdError as StorageIdError
from flask_convex_http.errors.requests import AuthenticationError as AuthenticationError
from flask_convex_http.errors.requests import AuthProviderError as AuthProviderError
from flask_convex_http.errors.requests import KeyInUseError as KeyInUseError
from flask_convex_http.errors.requests import PayloadTooLargeError as PayloadTooLargeError
from flask_convex_http.errors.requests import RateLimitedError as RateLimitedError
from flask_convex_http.errors.requests import RequestError as RequestError
from flask_convex_http.errors.setup import ConfigurationError as ConfigurationError
from flask_convex_http.errors.setup import MigrationRefusedError as MigrationRefusedError
from flask_convex_http.errors.setup import MigrationRequiredError as MigrationRequiredError
from flask_convex_http.errors.setup import RegistrationError as RegistrationError
from flask_convex_http.errors.webhooks import MissingSecretError as MissingSecretError
from flask_convex_http.errors.webhooks import VerificationError as VerificationError
from flask_convex_http.errors.webhooks import VerificationUnavailableError as VerificationUnavailableError
from flask_convex_http.errors.webhooks import WebhookFailedError as WebhookFailedError

# Tracebacks, logs and stored errors name the folder, from which errors are imported, and not its modules.
for _value in tuple(vars().values()):
    if isinstance(_value, type):
        _value.__module__ = __name__
