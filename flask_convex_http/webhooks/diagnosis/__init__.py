"""Why a delivery of a webhook was refused: each file tries one kind of mistake, `diagnose` all of them.

No I/O, no web framework, no SQL: headers, bytes and providers come in, sentences go out. None holds a secret, and none
what a delivery says.
"""

from flask_convex_http.webhooks.diagnosis.diagnose import diagnose as diagnose
from flask_convex_http.webhooks.diagnosis.diagnose import signed_at as signed_at
from flask_convex_http.webhooks.diagnosis.findings import Finding as Finding
