"""Diagnosis of rejected deliveries: `diagnose` takes headers, a body and providers, and returns findings for people.

No I/O. A finding contains no secret, no signature and nothing of a body.
"""

from flask_convex_http.webhooks.diagnosis.diagnose import diagnose as diagnose
from flask_convex_http.webhooks.diagnosis.diagnose import signed_at as signed_at
from flask_convex_http.webhooks.diagnosis.findings import Finding as Finding
