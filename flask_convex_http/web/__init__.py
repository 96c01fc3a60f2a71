"""HTTP: routes, requests, responses, auth, CORS and files, in Flask.

A WSGI request enters through `middleware` and a rule of `router`. A handler runs functions of `runtime/`, or a verified
delivery goes to `inbox/`. A response leaves. Of the folders that serve requests, only this one imports Flask.
"""
