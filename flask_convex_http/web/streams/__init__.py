"""Streams of server-sent events: live queries, and the commits of the app."""
