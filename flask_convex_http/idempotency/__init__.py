"""Idempotent requests: the effects of a request, its key and its response are one commit.

A request enters from `web/` with its key, through `idempotency.IdempotentRequests`. The handler runs in `runtime/`, in
one transaction. The response leaves. A retry with the key gets the stored response and runs nothing.
"""
