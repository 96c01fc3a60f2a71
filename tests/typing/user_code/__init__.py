"""Right and wrong code of users. A wrong line has the expected message of the type checkers after `E:`.

`mypy:` and `pyright:` precede messages that differ.
"""
