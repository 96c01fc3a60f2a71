"""The files of a client: their places and their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from flask_convex_http.backend import Backend
from flask_convex_http.codegen.api import api_of
from flask_convex_http.codegen.typescript import TAKEN, typescript_files
from flask_convex_http.function_api.names import Casing

Language = Literal["typescript", "python"]


def files_of(backend: Backend, casing: Casing, language: Language, out: Path) -> dict[Path, str]:
    """Return the text of each file of a client.

    Args:
        backend: The backend of the app.
        casing: The casing of names for clients.
        language: The language of the client.
        out: The folder of the files. In Python also the file itself, if its name ends in `.py`.
    """
    if language == "typescript":
        files = typescript_files(api_of(backend.functions, backend.schema, casing, taken=TAKEN, for_javascript=True))
        return {out / name: text for name, text in files.items()}
    from flask_convex_http.codegen.python import python_module, taken_names  # which reads a file

    api = api_of(backend.functions, backend.schema, casing, taken=taken_names(), for_javascript=False)
    return {out if out.suffix == ".py" else out / "__init__.py": python_module(api)}
