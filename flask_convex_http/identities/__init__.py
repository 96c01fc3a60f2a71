"""Who calls: identities.

A credential of a request enters in `web/`. An identity leaves, and every function that the request runs sees it.
"""

from flask_convex_http.identities.user_identity import UserIdentity as UserIdentity
