"""The inbox: a webhook delivery, its effects and its response are one commit.

A verified delivery enters from `web/` through `inbox.Inbox`. The handler runs in `runtime/`, at once or later by a
worker through `queue`. The response leaves. A duplicate gets the stored response and runs nothing. `replay` serves
commands.
"""
