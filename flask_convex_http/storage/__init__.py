"""Stored files: `ctx.storage` of functions.

Bytes enter and leave as streams. Metadata are documents of the table `_storage`. The bytes are in `blobs/`.
"""
