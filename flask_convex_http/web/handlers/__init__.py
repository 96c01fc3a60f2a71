"""Handlers: their signatures, checked at registration, and their calls with the ctx, the request and its parameters."""
