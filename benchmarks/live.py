"""Live queries under gunicorn with two workers: `python -m benchmarks.live`.

* The time to find the queries that a changed row concerns, among 10,000 equality queries.
* The time from before a mutation is sent until a subscriber has the new result, with 200 subscribers of 20 queries.
* The memory of 1,000 idle subscribers, and the rate of `GET /readyz` beside them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import live_app
from benchmarks.load import get, load
from benchmarks.servers import Server, gunicorn
from flask_convex_http.sync.range_index import RangeIndex
from flask_convex_http.sync.read_sets import ReadRange, ReadSet

_SUBSCRIBERS, _QUERIES, _IDLE = 200, 20, 1000
_WRITES, _PAUSE = 150, 0.05
_SECONDS = 3.0


def lookup_us() -> float:
    """Return the microseconds to find the query of a changed row among 10,000 equality queries."""
    index: RangeIndex[int] = RangeIndex()
    for number in range(10_000):
        index.add(number, ReadSet(ranges=frozenset([ReadRange("readings", (2,), (number,))])))
    rows = [("id", 0.0, number, 1.0) for number in range(10_000)]
    began = time.perf_counter()
    for row in rows:
        index.concerned("readings", "id", None, row)
    return (time.perf_counter() - began) / len(rows) * 1e6


def subscription(sensors: Sequence[int]) -> list[str]:
    """Return the first messages of a client that subscribes to sensors."""
    added = [
        {"type": "Add", "queryId": place, "udfPath": "liveApp:newest", "args": [{"sensor": sensor}]}
        for place, sensor in enumerate(sensors)
    ]
    return [
        json.dumps({"type": "Connect", "sessionId": "bench", "connectionCount": 0, "clientTs": 0}),
        json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": added}),
    ]


async def open_client(stack: AsyncExitStack, port: int, sensors: Sequence[int]) -> ClientConnection:
    """Open a client that subscribes to sensors, and wait for its first results."""
    url = f"ws://127.0.0.1:{port}/api/sync"
    client = await stack.enter_async_context(connect(url, compression=None, ping_interval=None))
    for message in subscription(sensors):
        await client.send(message)
    while json.loads(await client.recv())["type"] != "Transition":
        pass
    return client


async def receive(client: ClientConnection, delays: list[float]) -> None:
    """Note the delay of each new result."""
    async for message in client:
        now = time.time()
        for change in json.loads(message).get("modifications", ()):
            delays.append(now - change["value"])


async def measure_delays(port: int) -> tuple[list[float], int]:
    """Return the seconds until subscribers have a new result, and the number of those that were awaited."""
    delays: list[float] = []
    async with AsyncExitStack() as stack:
        clients = [
            await open_client(stack, port, [(number + each) % _SUBSCRIBERS for each in range(_QUERIES)])
            for number in range(_SUBSCRIBERS)
        ]
        tasks = [asyncio.create_task(receive(client, delays)) for client in clients]
        writer = await open_client(stack, port, [])
        for number in range(_WRITES):
            args = {"sensor": number % _SUBSCRIBERS, "sent": time.time()}
            message = {"type": "Mutation", "requestId": number, "udfPath": "liveApp:record", "args": [args]}
            await writer.send(json.dumps(message))
            await asyncio.sleep(_PAUSE)
        await asyncio.sleep(1.0)
        for task in tasks:
            task.cancel()
    return delays, _WRITES * _QUERIES


async def measure_idle(server: Server) -> tuple[float, float, float]:
    """Return the megabytes of idle subscribers, and the rates of a GET before and with them."""
    before_rate, before = await asyncio.to_thread(rate, server.port), memory(server)
    async with AsyncExitStack() as stack:
        for number in range(_IDLE):
            await open_client(stack, server.port, [number])
        after = memory(server)
        after_rate = await asyncio.to_thread(rate, server.port)
    return after - before, before_rate, after_rate


def rate(port: int) -> float:
    """Return the requests per second of a GET, sent by another process than that of the subscribers."""
    code = f"from benchmarks.live import burst_rate; print(burst_rate({port}))"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def burst_rate(port: int) -> float:
    """Return the requests per second of a GET."""
    burst = load(port, itertools.repeat(get("/readyz")), 8, _SECONDS)
    return burst.in_time / burst.seconds


def memory(server: Server) -> float:
    """Return the megabytes that the workers of a server hold, without what they share."""
    pid = server.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(_kilobytes, children)) / 1024


def _kilobytes(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def print_lines() -> None:
    """Print the table."""
    print(f"\nLive queries\n  find the queries of a changed row, of 10,000 {lookup_us():8.2f} us")
    with tempfile.TemporaryDirectory() as folder:
        live_app.migrate(folder)
        command = gunicorn(f"benchmarks.live_app:create_app({folder!r})", 32)
        with Server("live", command, Path(folder), dict(os.environ)) as server:
            delays, awaited = asyncio.run(measure_delays(server.port))
            ordered = sorted(delay * 1000 for delay in delays)
            print(
                f"  mutation to subscriber, median {statistics.median(ordered):6.1f} ms, p99 "
                f"{ordered[int(len(ordered) * 0.99)]:6.1f} ms, {len(ordered)} of {awaited} results"
            )
            megabytes, before, after = asyncio.run(measure_idle(server))
            print(
                f"  {_IDLE} idle subscribers {megabytes:6.1f} MB, GET /readyz {before:.0f}/s, with them {after:.0f}/s"
            )


if __name__ == "__main__":
    print_lines()
