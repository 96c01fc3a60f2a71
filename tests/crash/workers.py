"""What the worker processes do: post to the ledger, or contend for its writer, until they are killed or told to end.

They run the backend itself, without a server. What they have to say goes to files that are not in the ledger's folder
and so outlive a kill and a power cut.
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
#: How many characters notes have: mostly less than a page, sometimes many pages.
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
    """Post until killed; once in a while one that is refused, or one with a file.

    Args:
        folder: The ledger's.
        log: A folder for what is acknowledged, `acknowledged`, and for what went wrong, `errors`.
        worker: What keys start with; no other worker ever has the same.
        threads: How many post at the same time; one more reads.
        migrate: Whether to make the tables first.
        session: Seconds after which the ledger is closed and opened again.
        checkpoint_bytes: How much is written from one checkpoint to the next.
        settings: More settings of the app.
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
    """What is to outlive the process; lines of many processes and threads do not mix.

    Args:
        folder: A folder outside of the ledger's.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._acknowledged = os.open(folder / "acknowledged", flags)
        self._errors = os.open(folder / "errors", flags)

    def acknowledge(self, key: str) -> None:
        """Note that a key's entry was written, as a server answers 201."""
        os.write(self._acknowledged, f"{key}\n".encode())

    def error(self, text: str) -> None:
        """Note something that should not happen."""
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
    """Increment for some seconds, from when the gate opens; answer how often it could, or what went wrong.

    Args:
        folder: The ledger's.
        account: Whose total is incremented.
        ready: A file to make when ready.
        gate: A file that is made when all are ready.
        seconds: For how long.
        answer: A file for the answer.
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
