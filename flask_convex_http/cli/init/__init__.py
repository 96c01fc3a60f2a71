"""`flask convex init`: write a small app to start from."""

from flask_convex_http.cli.init.command import init as init
