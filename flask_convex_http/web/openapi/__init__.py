"""The OpenAPI 3.1 document of an app, and its documentation page.

`options` has what an application writes. `document` builds the document from the routes of an app: each route by
`operations`, its responses by `responses`, the types by `schemas`, the webhooks by `events`. `page` renders a document
as HTML. `serving` adds the two routes to an app. An app without `openapi=` imports `options` only.
"""
