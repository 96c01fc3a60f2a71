"""Run a function of any kind with JSON arguments, or a mutation without effects, for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_convex_http.functions.function import Function
from flask_convex_http.runtime import Caller, MutationCalls, Runtime, fresh_arguments
from flask_convex_http.runtime.dry_run import DryRun, dry_run


def run_function(runtime: Runtime, function: Function[Any, Any], arguments: Mapping[str, Any], caller: Caller) -> Any:
    """Run a function of any kind, and return its validated result.

    Args:
        runtime: Runs functions.
        function: The function.
        arguments: Its arguments as JSON values: dates are text, and bytes are base64.
        caller: The caller.

    Raises:
        ArgumentValidationError: The arguments do not match.
    """
    checked = function.check_arguments((), arguments, json=True)
    caller = caller.deeper()
    if function.kind == "query":
        return runtime.query(function, checked, caller)
    if function.kind == "mutation":
        return runtime.mutation(function, checked, caller)
    return runtime.call(function, runtime.action_ctx(caller), checked, caller)


def try_mutation(
    runtime: Runtime, mutation: Function[Any, Any], arguments: Mapping[str, Any], caller: Caller
) -> DryRun:
    """Run a mutation, roll it back, and return its changes.

    Args:
        runtime: Runs functions.
        mutation: The mutation.
        arguments: Its arguments as JSON values.
        caller: The caller.

    Raises:
        ArgumentValidationError: The arguments do not match.
    """
    fresh = fresh_arguments(mutation.check_arguments((), arguments, json=True))

    def body(calls: MutationCalls) -> Any:
        return runtime.result(mutation, mutation.handler(calls.ctx(), **next(fresh)))

    return dry_run(runtime, body, caller)
