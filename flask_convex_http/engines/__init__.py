"""Databases, interchangeable: each member is one implementation of `base.Engine`."""
