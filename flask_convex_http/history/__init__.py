"""The commit log: what each commit changed and why, and the documents as they were.

A transaction notes the previous values of the fields it writes (`log`), and the engine appends them to `_commits` and
`_changes` in the same transaction. `values` is their form, and `coverage` says from which commit on they are complete.

The worker keeps an index of the commits by document, request and delivery (`commit_keys`).

`reader` reads them in a snapshot. On it stand `as_of` (the rows as they were), `revisions` (the changes of one
document), `feed` (the commits in their order) and `undo` (the rows that undo commits). `purge` deletes old commits, and
`history` is the entrance of the backend.

The documents of the application are logged, unless their class has `history=False`. The package's own tables are not.
They hold secrets and the bodies of webhooks, and each has states, times and attempts of its own.
"""
