"""The SQLite engine: documents as rows of one file."""
