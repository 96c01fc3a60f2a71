"""HTTP: routes, requests, responses, auth, CORS and files, in Flask.

A WSGI request enters through `middleware` and a rule of `routing/`. The checks of `guards/` run, and `handlers/` calls
the handler, which runs functions of `runtime/`. A delivery is verified by `webhooks/` and goes to `inbox/`. A response
leaves through `responses/`. Of the folders that serve requests, only this one imports Flask.
"""
