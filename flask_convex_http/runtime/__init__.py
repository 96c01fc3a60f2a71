"""Runs functions: contexts, transactions, and the calls of one function from another.

A caller enters through `runtime.Runtime`, with a function, its checked arguments and a `Caller`. The function receives
a `context` (`QueryCtx`, `MutationCtx` or `ActionCtx`). Its checked result leaves.
"""
