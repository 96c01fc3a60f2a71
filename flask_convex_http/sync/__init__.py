"""Live queries: the sync protocol of Convex's clients, over WebSocket, on the port that serves HTTP.

A request enters through `serving`, which takes its connection from the WSGI server (`handover`). From then on it is on
the `event_loop`, as a `websocket`, and its messages go to a `session`. The queries of all sessions run in the rounds of
`live_queries`. Those read in the commit log which rows have changed (`changes`), and find the queries that have read
such rows (`read_sets`, `range_index`). Mutations and actions run in threads (`execution`).

Nothing here is imported unless `function_api=` is on, and nothing starts before the first connection.
"""
