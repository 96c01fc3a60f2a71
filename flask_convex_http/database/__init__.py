"""Reads and writes of documents: what functions use as `ctx.db`.

Documents, ids and index ranges enter. Rows go to a snapshot or transaction of `engines`.
"""
