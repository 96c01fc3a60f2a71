"""Databases behind one port: rows and transactions enter, SQL leaves.

`base` and `transaction` say what every engine must do, and `capabilities` what some can do besides. Each subfolder is
one engine. A new engine is a folder, a branch in `factory` and a line in the members of the contract tests.
"""

from flask_convex_http.engines.base import DatabaseSize as DatabaseSize
from flask_convex_http.engines.base import Engine as Engine
from flask_convex_http.engines.capabilities import Backups as Backups
from flask_convex_http.engines.capabilities import KeyLocks as KeyLocks
from flask_convex_http.engines.capabilities import Listener as Listener
from flask_convex_http.engines.capabilities import Mailbox as Mailbox
from flask_convex_http.engines.capabilities import PreparedRestore as PreparedRestore
from flask_convex_http.engines.capabilities import Progress as Progress
from flask_convex_http.engines.capabilities import StartMarker as StartMarker
from flask_convex_http.engines.read_budget import ReadBudget as ReadBudget
from flask_convex_http.engines.readiness import UndescribedTable as UndescribedTable
from flask_convex_http.engines.transaction import Row as Row
from flask_convex_http.engines.transaction import Snapshot as Snapshot
from flask_convex_http.engines.transaction import Transaction as Transaction
