"""Tests of the documentation, one module for each promise of the pages.

* `test_pages`: every code block of the README and of `docs/` works as documented.
* `test_code`: mypy and ruff accept the Python of the pages.
* `test_links`: every internal link has a target.
* `test_site`: the site builds without warnings and needs no network; the README stays short.
* `test_settings`, `test_commands`, `test_errors`, `test_coming_from`, `test_facade`: the tables match the code.

How a page is written
---------------------

A page is followed from top to bottom in an empty folder, with one shell, as a reader would. The line
`<!-- new folder -->` starts again in another empty folder. A test that cannot run a block fails.

**Python** blocks are files. The first line names the file: `# shop.py`, `# shop/schema.py`. A block without a name
continues the file before it. `# shop.py (continued)` continues a file of the page, and `# shop.py (new version)`
replaces it.
At the end of a folder each module must import, and `test_*.py` must pass under pytest, both with warnings as errors.
`test_code` checks them with mypy: strictly where a function annotates its `ctx`, but tests may lack annotations.

**`sh`** blocks are commands, one a line. **`console`** blocks are commands after `$ `, each followed by the output
that a reader compares. In the output `...` stands for any text, also for several lines, and runs of whitespace are
equal. A long command continues with a backslash or inside quotes. Variables, exports and `cd` last until the end of
the folder.

* A command must succeed, unless its line ends in `# exits with 1`.
* A `curl` must get a status below 400, unless its line ends in the status: `# 400`. After the status may stand a part
  of the body: `# 400 {"error":"..."}`.
* `flask ... run`, `gunicorn`, `python -m flask_convex_http.granian` and `flask ... convex worker` start in the
  background, and end with the folder or when the next server starts. Pages say `localhost:5000` or `127.0.0.1:8000`;
  tests use a free port and translate.
* `postgresql://app@db.internal/app` and `s3://app-files/production` are an empty PostgreSQL and an empty place in S3,
  new in each folder. Variables of AWS are those of that S3.
* Commands that change the machine are only read, not run: see `shell.ELSEWHERE`. Extras in `pip install` and targets of
  `make` must exist.

**`text`** blocks are output: each must occur in the output of the last command or of the folder's servers,
with `...` as above. **`none`** blocks are drawings and are not checked.

Other languages are parsed: see `languages.PARSERS`. A block whose first line is a comment with a file's name, such as
`# compose.yaml`, is also written into the folder. A language without a parser fails.
"""
