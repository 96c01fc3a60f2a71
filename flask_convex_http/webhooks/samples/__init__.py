"""Deliveries of webhooks without their senders: realistic events, signed with the app's own secret, faulty if wanted.

For `flask convex webhooks send` and for tests. No I/O, no web framework, no SQL.
"""
