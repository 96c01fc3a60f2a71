"""Move a deployment to another database, another blob store, or both.

Two sides enter, each an engine and a blob store. A `MoveReport` leaves, with the row counts and checksums of both.

1. `target.py` checks where the move goes and opens the target.
2. `move.py` runs the move: it checks the target, copies rows and files, and compares both sides.
3. `rows.py` writes the differences of one table, and `files.py` copies the bytes of files.
4. `records.py` stores in the target what moves have written, so that the next run can tell.
"""
