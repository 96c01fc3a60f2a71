"""Responses: values become JSON, errors become statuses, and stored files become ranges."""
