"""Validators that are made from annotations: strict, with the path of the wrong value in each error.

An annotation enters. A `Validator` leaves, which checks, decodes and encodes values. No I/O, and no database.
"""
