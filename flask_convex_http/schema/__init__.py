"""Documents, tables and indexes of an application, and the steps that bring a database to them.

Subclasses of `Document` enter. A `Schema` leaves, whose tables know their columns, indexes and validators. No SQL.
"""
