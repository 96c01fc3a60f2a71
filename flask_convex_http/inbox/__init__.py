"""The inbox: a webhook delivery, its effects and its response are one commit.

A verified `WebhookEvent` enters from `web`. The handler runs at most once to its end; duplicates get the stored
response.
"""
