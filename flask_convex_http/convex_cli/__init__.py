"""What Convex's own command line asks of a deployment: `npx convex data`, `function-spec` and the like.

The command line calls queries whose names begin with `_system/`, with an admin key. `tables` and `function_spec` have
them. `log_stream` has the records of `npx convex logs`. `refusals` has the texts for what a Flask app cannot do, such
as a push of code. `serving` adds all of it to the function API. Nothing here is imported unless `function_api=` is on.
"""
