"""A SQLite file shared by many threads and processes: connections, the writer queue, checkpoints and backups.

The SQLite engine and the SQLite blob store enter with work on a connection. Commits leave, and reads. This folder knows
files, locks and commits, and nothing of rows and blobs.
"""
