"""Load, poison jobs, poison deliveries, endless jobs, slow clients and kills at once, under gunicorn.

SOAK_SECONDS is the length of the load: two minutes by default, in which each fault happens. SOAK_SEED repeats the
random choices. SOAK_P99 is the limit in seconds for 99 of 100 good requests, which may be 1 on an idle machine.
"""

import contextlib
import os
import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest

from flask_convex_http.worker.lost_mutations import LOST_RETRY
from tests.lengths import LONG
from tests.processes.servers import Kind, Server
from tests.worker import poison_app
from tests.worker.test_poison import GUNICORN, Poisoned, deliver, serving, states, wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
SEED = os.environ.get("SOAK_SEED") or str(random.SystemRandom().randrange(10**9))
P99 = float(os.environ.get("SOAK_P99", "10"))
WORKERS, CLIENTS, SLOW_CLIENTS = 4, 4, 10
#: The longest time in seconds until all jobs and deliveries have ended: five attempts, and leases of killed processes.
SETTLED = 200.0

pytestmark = [LONG, pytest.mark.timeout(SECONDS + 2 * SETTLED + 100)]

#: Seconds between two faults of a kind: poison jobs, poison deliveries, endless jobs and kills.
_EVERY = {"die": 30.0, "deliver": 60.0, "loop": 45.0, "kill": 20.0}


@dataclass
class Soak:
    """The load on one server, and the faults in it.

    Attributes:
        server: The server.
        deployment: Its database.
        chance: Makes the random choices.
        taken: The seconds until each good request had its response, repetitions after a cut connection included.
        written: The texts of the notes that were acknowledged.
        poison: The ids of the jobs that kill their process.
        endless: The ids of the jobs that never end.
        events: The ids of the deliveries that were acknowledged, the poison ones with their kind.
        kills: The number of processes that the test has killed.
    """

    server: Server
    deployment: Poisoned
    chance: random.Random
    end: float
    taken: list[float] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    poison: list[str] = field(default_factory=list)
    endless: list[str] = field(default_factory=list)
    events: dict[str, str] = field(default_factory=dict)
    kills: int = 0

    def send_good_requests(self, client: int) -> None:
        """Write notes and deliver events until the end."""
        number = 0
        while time.monotonic() < self.end:
            number += 1
            text = f"note-{client}-{number}"
            began = time.monotonic()
            self._write(text)
            self.taken.append(time.monotonic() - began)
            self.written.append(text)
            if number % 10 == 0:
                deliver(self.server, f"evt_{client}_{number}", "good")
                self.events[f"evt_{client}_{number}"] = "good"
            time.sleep(0.05)

    def _write(self, text: str) -> None:
        """Send a request until it is acknowledged."""
        while True:
            with contextlib.suppress(OSError, HTTPException):
                if self.server.request("POST", f"/notes/{text}").status == 201:
                    return
            time.sleep(0.02)

    def hold_connections(self) -> None:
        """Keep slow clients connected, which send a byte of their headers each second."""
        clients: list[socket.socket] = []
        while time.monotonic() < self.end:
            with contextlib.suppress(OSError):
                while len(clients) < SLOW_CLIENTS:
                    clients.append(socket.create_connection((self.server.host, self.server.port)))
                    clients[-1].sendall(b"POST /notes/slow HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            for client in list(clients):
                try:
                    client.sendall(b"x")
                except OSError:
                    client.close()
                    clients.remove(client)
            time.sleep(1)
        for client in clients:
            client.close()

    def cause_faults(self, kind: str) -> None:
        """Cause the faults of one kind, at random times."""
        number = 0
        while True:
            pause = _EVERY[kind] * self.chance.uniform(0.2, 0.8)
            if time.monotonic() + pause > self.end:
                return
            time.sleep(pause)
            number += 1
            self._cause(kind, number)
            time.sleep(max(min(_EVERY[kind] - pause, self.end - time.monotonic()), 0))

    def _cause(self, kind: str, number: int) -> None:
        if kind == "die":
            self.poison.append(self.deployment.schedule(poison_app.die))
        elif kind == "loop":
            self.endless.append(self.deployment.schedule(poison_app.loop))
        elif kind == "deliver":
            deliver(self.server, f"evt_die_{number}", "die")
            self.events[f"evt_die_{number}"] = "die"
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(self.server.workers[-WORKERS:]), signal.SIGKILL)
                self.kills += 1


def run(soak: Soak) -> None:
    """Send the load and cause the faults until the end."""
    with ThreadPoolExecutor(CLIENTS + len(_EVERY) + 1) as pool:
        work = [pool.submit(soak.send_good_requests, client) for client in range(CLIENTS)]
        work += [pool.submit(soak.cause_faults, kind) for kind in _EVERY]
        work.append(pool.submit(soak.hold_connections))
        for each in work:
            each.result()


def test_faults_do_not_stop_the_service(tmp_path: Path) -> None:
    """With faults of every kind at once, good requests get their responses in time, and nothing is lost.

    No acknowledged note is missing. Good deliveries have their effect once, poison ones are dead. Poison and endless
    jobs have failed. The number of processes that started is explained by the kills and the attempts.
    """
    print(f"SOAK_SEED={SEED}")
    deployment = Poisoned(tmp_path, mutation_timeout=0.5)
    kind = Kind((*GUNICORN.command, "--workers", str(WORKERS)), GUNICORN.exit_codes)
    with serving(deployment, kind) as server:
        soak = Soak(server, deployment, random.Random(SEED), time.monotonic() + SECONDS)
        run(soak)
        jobs = soak.poison + soak.endless
        wait_until(lambda: all(deployment.job(job).state == "failed" for job in jobs), SETTLED)
        expected = {event: "dead" if kind == "die" else "done" for event, kind in soak.events.items()}
        wait_until(lambda: states(deployment) == expected, SETTLED)
        notes = deployment.notes
        good = [event for event, kind in soak.events.items() if kind == "good"]
        assert sorted(set(notes)) == sorted(soak.written + good)
        assert len([note for note in notes if note in good]) == len(good)
        deaths = len(soak.poison) * LOST_RETRY.max_attempts + (len(soak.events) - len(good)) * poison_app.MAX_ATTEMPTS
        assert len(server.workers) <= WORKERS + soak.kills + deaths, server.output
    taken = sorted(soak.taken)
    p99 = taken[int(len(taken) * 0.99)]
    print(f"{len(taken)} requests: p99 {p99:.3f} s, longest {taken[-1]:.3f} s, {len(server.workers)} processes")
    assert p99 <= P99
