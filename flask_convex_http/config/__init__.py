"""The settings of a deployment: the `CONVEX_` keys of `app.config`.

Settings differ between deployments. A bad value fails at start, and the message names the key but never the value of a
secret. A new setting is a field in `settings`, and a key in `keys` with what checks its value.
"""

from flask_convex_http.config.keys import PARSERS as PARSERS
from flask_convex_http.config.locations import MEMORY as MEMORY
from flask_convex_http.config.locations import Location as Location
from flask_convex_http.config.locations import hide_password as hide_password
from flask_convex_http.config.settings import Settings as Settings
from flask_convex_http.config.urls import parse_database_url as parse_database_url
from flask_convex_http.config.urls import parse_storage_url as parse_storage_url
