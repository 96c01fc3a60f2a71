"""Move a deployment to another database, another blob store, or both.

Two sides enter, each an engine and a blob store. A `MoveReport` leaves, with the row counts and checksums of both.

1. `target.py` checks where the move goes and opens it.
2. `move.py` runs the move: it checks the target, copies rows and files, and compares both sides.
3. `rows.py` writes the differences of one table, and `files.py` copies the bytes of files.
4. `records.py` stores in the target what moves have written, so that the next run can tell.
"""

from flask_convex_http.operations.move.files import FilesReport as FilesReport
from flask_convex_http.operations.move.move import Move as Move
from flask_convex_http.operations.move.move import MoveReport as MoveReport
from flask_convex_http.operations.move.move import Side as Side
from flask_convex_http.operations.move.records import Contents as Contents
from flask_convex_http.operations.move.target import open_move as open_move
