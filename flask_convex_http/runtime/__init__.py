"""Runs functions: contexts, transactions, and the calls of one function from another.

A function, its checked arguments and a caller enter through `runtime.Runtime`. The function receives a ctx (`context`),
whose calls lead back here (`calls`). The checked result leaves, after the commit and its hooks (`commit_hooks`).
"""
