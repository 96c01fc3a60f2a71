"""Webhooks over HTTP: the view of a route for webhooks, and the functions that handle its events."""
