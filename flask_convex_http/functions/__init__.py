"""Functions of an application: the decorators, their arguments and results, and the registry that finds them by name.

A decorated Python function enters. A `Function` leaves, which checks arguments and results but runs nothing.
"""
