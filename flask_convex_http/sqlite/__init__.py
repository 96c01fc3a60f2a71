"""A SQLite file that many threads and processes share: connections, the writer queue, checkpoints, backups.

Used by the SQLite engine and by the SQLite file store. Rows and blobs are their business; this folder knows files,
locks and commits.
"""
