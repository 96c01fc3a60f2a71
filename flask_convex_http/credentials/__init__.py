"""The built-in API keys and access tokens.

`store` creates and verifies them, for requests and for the command line. `in_code` is `ctx.api_keys` and `ctx.tokens`,
which work in the transaction of a mutation. `admin_keys` has those of operators.
"""

from flask_convex_http.credentials.admin_keys import AdminKey as AdminKey
from flask_convex_http.credentials.admin_keys import AdminKeys as AdminKeys
from flask_convex_http.credentials.in_code import ApiKeyReader as ApiKeyReader
from flask_convex_http.credentials.in_code import ApiKeyWriter as ApiKeyWriter
from flask_convex_http.credentials.in_code import CredentialInfo as CredentialInfo
from flask_convex_http.credentials.in_code import IssuedCredential as IssuedCredential
from flask_convex_http.credentials.in_code import TokenReader as TokenReader
from flask_convex_http.credentials.in_code import TokenWriter as TokenWriter
from flask_convex_http.credentials.store import LAST_USED_INTERVAL as LAST_USED_INTERVAL
from flask_convex_http.credentials.store import Credentials as Credentials
from flask_convex_http.credentials.store import is_credential as is_credential
from flask_convex_http.credentials.store import make_credential as make_credential
from flask_convex_http.credentials.store import without_hash as without_hash
