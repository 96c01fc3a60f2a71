"""Operations on a whole deployment: check it, back it up, move it, look into its tables.

The parts of a backend enter: engine, blob store, files, settings. Reports leave, which the command line prints. An
operation works in constant memory. It works on any engine and any blob store, except that only SQLite files can be
backed up.
"""

from flask_convex_http.operations.backups import DeploymentBackups as DeploymentBackups
from flask_convex_http.operations.backups import DeploymentRestore as DeploymentRestore
from flask_convex_http.operations.check import Check as Check
from flask_convex_http.operations.check import Findings as Findings
from flask_convex_http.operations.migration import migrate as migrate
from flask_convex_http.operations.progress import Progress as Progress
from flask_convex_http.operations.rights import describe_exposed as describe_exposed
from flask_convex_http.operations.tables import TableCount as TableCount
from flask_convex_http.operations.tables import TableReader as TableReader
from flask_convex_http.operations.tables import TableRows as TableRows
from flask_convex_http.operations.unattached import UnattachedFiles as UnattachedFiles
from flask_convex_http.operations.undo import Undo as Undo
