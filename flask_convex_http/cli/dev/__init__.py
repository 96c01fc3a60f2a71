"""`flask convex dev`: run the app while it is written, with a database that follows its classes.

Werkzeug's reloader has two processes. The first one listens and starts the second one, which loads the app, migrates
its database and serves it. It ends when a file changes, and the first one starts it again.
"""

from flask_convex_http.cli.dev.command import dev as dev
