"""The function API: Convex's clients call the app's functions over HTTP.

`views` parses a request, `identity` finds the caller, `calls` runs the function, and `failures` describes an error. The
annotations of a function say how its values are read and written (`decoding`, `encoding`). Only `views` and `serving`
know HTTP. Nothing here is imported unless `function_api=` is on.
"""
