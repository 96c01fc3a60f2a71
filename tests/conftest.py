"""Shared fixtures would live here; there are none: each test builds the app it tests."""
