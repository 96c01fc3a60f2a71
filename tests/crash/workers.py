"""The tasks of worker processes: post to the ledger, or contend for its writer, until killed or stopped.

They run the backend itself, without a server. Their output goes to files outside the ledger's folder, which survive a
kill and a power cut.
"""

import itertools
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from random import Random

from flask_convex_http import ConvexError
from flask_convex_http.backend import Backend
from flask_convex_http.sqlite import checkpoints
from tests.crash.ledger import increment, is_torn, open_ledger, post

ACCOUNTS = [f"account-{number}" for number in range(6)]
#: The number of characters of notes: mostly less than a page, sometimes many pages.
NOTE_SIZES = (0, 50, 300, 300, 1_000, 3_000, 20_000)


def post_entries(
    *,
    folder: str,
    log: str,
    worker: str,
    threads: int,
    migrate: bool,
    session: float,
    checkpoint_bytes: int,
    settings: dict[str, str],
) -> None:
    """Post until killed, sometimes an entry that is refused, and sometimes one with a file.

    Args:
        folder: The folder of the ledger.
        log: A folder for the acknowledged keys, `acknowledged`, and the errors, `errors`.
        worker: The unique start of its keys.
        threads: The number of posting threads; one more reads.
        migrate: Whether to create the tables first.
        session: Seconds after which the ledger is closed and opened again.
        checkpoint_bytes: Bytes between two checkpoints.
        settings: Further settings of the app.
    """
    say = Log(Path(log))
    checkpoints.CHECKPOINT_BYTES = checkpoint_bytes
    try:
        for number in itertools.count():
            with closing(open_ledger(Path(folder), **settings)) as backend:
                if migrate:
                    backend.migrate()
                _session(backend, say, f"{worker}-{number}", threads, time.monotonic() + session)
    except BaseException:
        say.error(traceback.format_exc())
        raise


def _session(backend: Backend, say: "Log", name: str, threads: int, end: float) -> None:
    with ThreadPoolExecutor(threads + 1) as pool:
        posters = [pool.submit(_post, backend, say, f"{name}-{number}", end) for number in range(threads)]
        reader = pool.submit(_read, backend, name, end)
        for future in (*posters, reader):
            future.result()


class Log:
    """Logs that survive the process. Lines of several processes and threads do not mix.

    Args:
        folder: A folder outside the ledger's.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._acknowledged = os.open(folder / "acknowledged", flags)
        self._errors = os.open(folder / "errors", flags)

    def acknowledge(self, key: str) -> None:
        """Record the key of a written entry, where a server would respond with 201."""
        os.write(self._acknowledged, f"{key}\n".encode())

    def error(self, text: str) -> None:
        """Record an error."""
        os.write(self._errors, f"{text}\n".encode())


def _post(backend: Backend, say: Log, prefix: str, end: float) -> None:
    random = Random(prefix)
    ctx = backend.ctx()
    for number in itertools.count(1):
        if time.monotonic() > end:
            return
        key, account = f"{prefix}-{number}", random.choice(ACCOUNTS)
        note = "x" * random.choice(NOTE_SIZES)
        if number % 7 == 0:
            with suppress(ConvexError):
                ctx.run_mutation(post, key=f"refused-{key}", account=account, amount=1, note=note, refused=True)
        receipt = ctx.storage.store(key.encode()) if number % 25 == 0 else None
        amount = random.randint(-100, 100)
        ctx.run_mutation(post, key=key, account=account, amount=amount, note=note, receipt=receipt)
        say.acknowledge(key)


def _read(backend: Backend, seed: str, end: float) -> None:
    random = Random(seed)
    while time.monotonic() < end:
        account = random.choice(ACCOUNTS)
        if backend.ctx().run_query(is_torn, account=account):
            raise AssertionError(f"A query saw half a transaction on {account}")
        time.sleep(0.002)


def contend(*, folder: str, account: str, ready: str, gate: str, seconds: float, answer: str) -> None:
    """Increment for some seconds after the gate opens, and write the number of increments or the error.

    Args:
        folder: The folder of the ledger.
        account: The account.
        ready: The file to create when ready.
        gate: The file that exists when all are ready.
        seconds: The duration.
        answer: The file for the result.
    """
    with closing(open_ledger(Path(folder))) as backend:
        backend.ctx().run_query(is_torn, account=account)  # so that everything is open
        Path(ready).touch()
        while not Path(gate).exists():
            time.sleep(0.001)
        Path(answer).write_text(_increments(backend, account, time.monotonic() + seconds))


def _increments(backend: Backend, account: str, end: float) -> str:
    try:
        for done in itertools.count():
            if time.monotonic() > end:
                return str(done)
            backend.ctx().run_mutation(increment, account=account)
    except Exception:
        return traceback.format_exc()
    raise AssertionError("A count has no end")


TASKS: dict[str, Callable[..., None]] = {"post_entries": post_entries, "contend": contend}
