"""Look for a webhook that is accepted and should not be, or refused by anything but a typed error, with atheris.

`make fuzz SECONDS=60` runs it; `python tests/fuzz/fuzz_webhooks.py -help=1` lists libFuzzer's own options. What it
finds is written to `crash-...` in the current folder; give it that file's name to see it again.
"""

import importlib
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

_INPUTS = "tests.fuzz.webhook_inputs"


def main() -> int:
    """Fuzz until told to stop; from the seeds, where no files or folders are given."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    if any(not argument.startswith("-") for argument in sys.argv[1:]):
        return fuzz()
    with TemporaryDirectory() as folder:
        for number, seed in enumerate(importlib.import_module(_INPUTS).seeds()):
            Path(folder, str(number)).write_bytes(seed)
        # Another process, because libFuzzer ends its own without coming back here.
        return subprocess.run([sys.executable, *sys.argv, folder], check=False).returncode


def fuzz() -> int:
    """Hand this process over to libFuzzer."""
    # By name: type checkers and the tests need not have atheris.
    atheris = importlib.import_module("atheris")
    # Instrumented is what is imported here for the first time: only our own code, so that coverage leads into it.
    with atheris.instrument_imports(include=["flask_convex_http.webhooks"]):
        inputs = importlib.import_module(_INPUTS)
    atheris.Setup(sys.argv, inputs.one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
