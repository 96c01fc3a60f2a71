"""Databases behind one port: rows and transactions enter, SQL leaves.

`base` says what every engine must do and what some can do besides. Each subfolder is one engine. A new engine is a
folder, a branch in `factory` and a line in the members of the contract tests.
"""

from flask_convex_http.engines.base import Backups as Backups
from flask_convex_http.engines.base import DatabaseSize as DatabaseSize
from flask_convex_http.engines.base import Engine as Engine
from flask_convex_http.engines.base import Listener as Listener
from flask_convex_http.engines.base import Mailbox as Mailbox
from flask_convex_http.engines.base import PreparedRestore as PreparedRestore
from flask_convex_http.engines.base import Progress as Progress
from flask_convex_http.engines.base import Row as Row
from flask_convex_http.engines.base import Snapshot as Snapshot
from flask_convex_http.engines.base import StartMarker as StartMarker
from flask_convex_http.engines.base import Transaction as Transaction
from flask_convex_http.engines.read_budget import ReadBudget as ReadBudget
from flask_convex_http.engines.readiness import UndescribedTable as UndescribedTable
