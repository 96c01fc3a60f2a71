"""Stored files: what functions use as `ctx.storage`.

Bytes enter and leave as streams. Metadata are documents of the table `_storage`; the bytes are in `blobs`.
"""
