"""Who calls: identities, and the JWTs of other issuers.

A JWT enters `tokens`, which knows the application's `providers`. Its issuer's keys come from `key_cache`, which fetches
them (`fetch`). Its claims are checked and become a `UserIdentity` (`claims`). API keys and access tokens of the package
itself are in `credentials`.

`tokens` and `key_cache` import PyJWT, and are imported only by applications that have providers.
"""

from flask_convex_http.identities.providers import OIDC as OIDC
from flask_convex_http.identities.providers import AuthProvider as AuthProvider
from flask_convex_http.identities.providers import CustomJWT as CustomJWT
from flask_convex_http.identities.providers import checked_providers as checked_providers
from flask_convex_http.identities.providers import token_checks as token_checks
from flask_convex_http.identities.user_identity import UserIdentity as UserIdentity
