"""Requests: their bodies, forms, uploads and ids, and the limits of their sizes."""
