"""Fuzz the verification of webhooks with atheris: look for accepted forgeries and untyped errors.

`make fuzz SECONDS=60` runs it, and `python tests/fuzz/fuzz_webhooks.py -help=1` lists libFuzzer's options. An input
that fails is written to `crash-...` in the current folder. Give that file's name to run it again.
"""

import importlib
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

_INPUTS = "tests.fuzz.webhook_inputs"


def main() -> int:
    """Fuzz until interrupted, from the seeds unless files or folders are given."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    if any(not argument.startswith("-") for argument in sys.argv[1:]):
        return fuzz()
    with TemporaryDirectory() as folder:
        for number, seed in enumerate(importlib.import_module(_INPUTS).seeds()):
            Path(folder, str(number)).write_bytes(seed)
        # In another process, because libFuzzer exits without returning.
        return subprocess.run([sys.executable, *sys.argv, folder], check=False).returncode


def fuzz() -> int:
    """Run libFuzzer in this process."""
    # By name, so that type checkers and the tests do not need atheris.
    atheris = importlib.import_module("atheris")
    # Only modules first imported here are instrumented: the package itself, so that coverage guides the fuzzer into it.
    with atheris.instrument_imports(include=["flask_convex_http.webhooks"]):
        inputs = importlib.import_module(_INPUTS)
    atheris.Setup(sys.argv, inputs.one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
