"""Moves a deployment to another database or file store, resumably, with a checksum for each table."""
