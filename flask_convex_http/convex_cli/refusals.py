"""The operations of Convex's command line that a Flask app does not have, and what to do instead.

The command line prints the message of a 403, and of a query that fails it prints the sentence that begins with
`DENIED`. For other errors it prints a stack trace of its own, or repeats the request for 20 seconds.
"""

from __future__ import annotations

#: The sentence that the command line looks for in the error of a query, up to the end of the line.
DENIED = "You do not have permission to perform this operation"

_PUSH = (
    "The functions of this deployment are the Python code of a Flask app, so npx convex dev, deploy and codegen cannot "
    "push to it. Start the app again to change its functions, change its tables with `flask convex migrate`, and write "
    "typed clients with `flask convex codegen`."
)
_ENVIRONMENT = (
    "The environment variables of this deployment are those of its server processes: set them where the app is started."
)
_EXPORT = (
    "This deployment has no snapshot exports: copy its database with `flask convex backup PATH`, or print the rows of "
    "a table with `flask convex data TABLE --json` or `npx convex data TABLE --format jsonLines`."
)
_IMPORT = (
    "This deployment has no snapshot imports: replace its database with `flask convex restore PATH`, or insert "
    "documents with a mutation, such as npx convex run items:create '{...}'."
)
_INLINE = "This deployment runs no JavaScript: run one of its functions, such as npx convex run items:listItems."

#: The texts by the endpoint below `/api/`. One that ends in a slash is a prefix.
ENDPOINTS = {
    "get_config_hashes": _PUSH,
    "deploy2/": _PUSH,
    "v1/": _PUSH,
    "update_environment_variables": _ENVIRONMENT,
    "export/": _EXPORT,
    "import/": _IMPORT,
    "perform_import": _IMPORT,
    "cancel_import": _IMPORT,
    "run_test_function": _INLINE,
}
_QUERIES = {
    "_system/cli/queryEnvironmentVariables": _ENVIRONMENT,
    "_system/cli/exports": _EXPORT,
    "_system/cli/queryImport": _IMPORT,
}
_SYSTEM = "_system/"


def refusal_of(path: str) -> str | None:
    """Return the error of a query of the command line that this package does not have; None for other functions.

    Args:
        path: The name of the function.
    """
    if f"/{_SYSTEM}" in path:  # the name of a component comes first
        return f"{DENIED}. This deployment has no components; leave --component out."
    if not path.startswith(_SYSTEM):
        return None
    module = path.partition(":")[0]
    return f"{DENIED}. {_QUERIES.get(module, f'This deployment has no {path}.')}"
