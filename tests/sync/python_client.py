"""Drives Convex's own client in Python, in an environment of its own: `python python_client.py URL`."""

import sys

from convex import ConvexClient, ConvexError  # type: ignore[import-not-found]  # of another environment

client = ConvexClient(sys.argv[1])
subscription = iter(client.subscribe("chat:listMessages", {"channel": "p"}))
assert next(subscription) == []
sent = client.mutation("chat:send", {"channel": "p", "body": "one"})
assert isinstance(sent, str)
assert [message["body"] for message in next(subscription)] == ["one"]
assert client.action("chat:shout", {"channel": "p", "body": "two"}) == "TWO"
assert [message["body"] for message in next(subscription)] == ["one", "TWO"]
try:
    client.mutation("chat:send", {"channel": "p", "body": ""})
except ConvexError as error:
    assert error.data == {"reason": "empty"}
else:
    raise AssertionError("no error")
assert len(client.query("chat:listMessages", {"channel": "p"})) == 2
print("DONE")
