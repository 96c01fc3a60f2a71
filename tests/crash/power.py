"""A folder with simulated power cuts: the files that are left after one, and after a mere crash.

The processes that work in the folder preload `keep_synced.c`, which copies all that they sync.
"""

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class File:
    """A file by its identity, which outlives its name."""

    identity: str
    content: bytes


class Disk:
    """A folder of files, and beside it the synced part of it.

    Args:
        folder: An empty folder for the files.
        kept: An empty folder for the synced files, in memory if possible.
        shim: The library made of `keep_synced.c`.
    """

    def __init__(self, folder: Path, kept: Path, shim: Path) -> None:
        self.folder = folder.resolve()
        self._kept = kept.resolve()
        self._shim = shim
        self._library = ctypes.CDLL(str(shim))
        self.settle()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of a process that works in the folder."""
        return {"LD_PRELOAD": str(self._shim), "SYNCED_FROM": str(self.folder), "SYNCED_TO": str(self._kept)}

    def settle(self) -> None:
        """Treat all existing files as synced."""
        for path in (*self.folder.iterdir(), self.folder):
            with _opened(path) as descriptor:
                self._library.keep_now(descriptor, os.fsencode(self.folder), os.fsencode(self._kept))

    def after_crash(self, target: Path) -> Path:
        """Return the files as they are: the processes ended, the machine did not."""
        return self.copy(self.folder, target)

    @staticmethod
    def copy(folder: Path, target: Path) -> Path:
        """Copy the files of a folder to a new one."""
        return _write({path.name: path.read_bytes() for path in folder.iterdir()}, target)

    def after_power_cut(self, target: Path) -> Path:
        """Return only the synced files."""
        return _write({name: self._synced(identity) for name, identity in self._entries().items()}, target)

    def after_torn_power_cut(self, target: Path, random: Random) -> Path:
        """Return the synced files with a random part of the rest: names, lengths, sectors or pages."""
        synced, latest = self._entries(), self._latest()
        files = {}
        for name in sorted({*synced, *latest}):
            new = latest.get(name)
            identity = random.choice((synced.get(name), new.identity if new else None))
            if identity is not None:
                kept = self._synced(identity)
                files[name] = _torn(kept, new.content, random) if new and new.identity == identity else kept
        return _write(files, target)

    def _entries(self) -> dict[str, str]:
        lines = (line.split(" ", 1) for line in (self._kept / "entries").read_text().splitlines())
        return {name: identity for identity, name in lines}

    def _synced(self, identity: str) -> bytes:
        path = self._kept / identity
        return path.read_bytes() if path.exists() else b""  # a name was synced without any byte

    def _latest(self) -> dict[str, File]:
        return {path.name: File(self._identity(path), path.read_bytes()) for path in self.folder.iterdir()}

    def _identity(self, path: Path) -> str:
        text = ctypes.create_string_buffer(80)
        with _opened(path) as descriptor:
            self._library.identity_of(descriptor, text, ctypes.c_size_t(len(text)))
        return text.value.decode()


class _opened:
    """Yield a descriptor of a file or a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._descriptor = os.open(self._path, os.O_RDONLY)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _torn(kept: bytes, latest: bytes, random: Random) -> bytes:
    shorter, longer = sorted((len(kept), len(latest)))
    size = random.choice((shorter, longer, random.randint(shorter, longer)))
    unit = random.choice((512, 4096))
    share = random.random()
    torn = bytearray(kept[:size].ljust(size, b"\0"))
    for start in range(0, min(size, len(latest)), unit):
        if random.random() < share:
            torn[start : start + unit] = latest[start : start + unit][: size - start]
    return bytes(torn)


def _write(files: dict[str, bytes], target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
    return target
