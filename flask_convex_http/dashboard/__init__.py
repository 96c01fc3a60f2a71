"""The dashboard at `/_convex`: pages for operators, rendered on the server.

`serving` adds the routes to an app, if it has `dashboard=True`. Each page is a file in `pages/` and a template. A page
receives a `Visit`, and reads from the backend.

* A visit has a session, which `access` stores as a hash. A session with the role "read-only" changes nothing.
* A request that changes something carries a CSRF token and comes from a page of the dashboard (`guards`).
* The Content-Security-Policy allows files of the dashboard only: no inline script, no inline style, no other host.
* Templates escape everything. Pages work without JavaScript, except where a page says so.
"""
