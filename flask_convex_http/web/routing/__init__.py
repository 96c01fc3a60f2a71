"""Routes: `HttpRouter`, its decorators and table of routes, and the Flask views behind the routes.

A request enters by a rule of Werkzeug, and `views` calls the handler.
"""
