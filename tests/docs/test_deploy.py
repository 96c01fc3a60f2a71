"""The files in `docs/deploy` fit the package, each other and the pages that show them.

No container runs here: the files are read, and their commands run without one.
"""

import configparser
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from flask_convex_http import gunicorn
from flask_convex_http.config import Settings
from tests.child_processes import ROOT, child_environment
from tests.docs.commands import parse
from tests.docs.markdown import DOCS, page
from tests.tools import tool

DEPLOY = DOCS / "deploy"
COMPOSE = ["compose.yaml", "compose.postgres.yaml"]
UNITS = sorted(path.name for path in DEPLOY.glob("*.service"))
#: Seconds that gunicorn, and then running actions, get to end.
GRACE = 30 + 10
BIN = Path(sys.executable).parent


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    joined = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def instruction(name: str) -> str:
    """Return the arguments of the last instruction of a kind."""
    return [rest for word, rest in dockerfile() if word == name][-1]


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets."""
    words = [word for name, rest in dockerfile() if name == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def compose(name: str) -> dict[str, Any]:
    """Return a file of Docker Compose."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return read


def unit(name: str) -> configparser.SectionProxy:
    """Return the section [Timer] or [Service] of a unit."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read_string((DEPLOY / name).read_text(encoding="utf-8"))
    return parser["Timer" if name.endswith(".timer") else "Service"]


def unit_environment() -> dict[str, str]:
    """Return the variables of the environment file."""
    lines = (DEPLOY / "shop.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def settings(environment: dict[str, str]) -> Settings:
    """Parse the settings of an environment, and reject unknown ones.

    Raises:
        AssertionError: A variable is not a setting.
    """
    config = {name.removeprefix("FLASK_"): value for name, value in environment.items() if "CONVEX_" in name}
    for name in config:
        assert name.removeprefix("CONVEX_").lower() in Settings.__slots__, name
    return Settings.from_mapping(config)


def folder_of(url: str) -> Path:
    """Return the folder of a `sqlite:///` URL; a relative one would be below the instance folder."""
    path = Path(url.removeprefix("sqlite:///"))
    assert path.is_absolute(), url
    return path.parent


def listening_port(words: list[str]) -> int:
    """Return the port that a gunicorn command listens on."""
    return int(words[words.index("--bind") + 1].rpartition(":")[2])


def shop(folder: Path) -> dict[str, str]:
    """Write the app of the page on Docker, and return the environment that starts it there."""
    [code] = [block.code for block in page("deploying/docker").blocks() if block.code.startswith("# shop.py")]
    (folder / "shop.py").write_text(code, encoding="utf-8")
    return child_environment() | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLASK_APP": "shop:create_app",
        "FLASK_CONVEX_DATABASE_URL": f"sqlite:///{folder}/convex.db",
        "FLASK_CONVEX_STORAGE_URL": f"sqlite:///{folder}/files.db",
    }


# --- Docker ----------------------------------------------------------------------------------------------------------


def test_the_image_has_a_python_that_the_package_supports() -> None:
    """The base image's version of Python is among those of the package."""
    version = re.match(r"python:(3\.\d+)-slim$", instruction("FROM"))
    assert version
    assert f"Programming Language :: Python :: {version[1]}\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def test_the_data_of_the_image_is_in_its_volume() -> None:
    """Both databases lie in the volume, with absolute paths, and the user of the app owns that folder."""
    found = settings(image_environment())
    volume = Path(instruction("VOLUME"))
    for url in (found.database_url, found.storage_url):
        assert folder_of(url) == volume
    owner = [rest for word, rest in dockerfile() if word == "RUN" and f"--owner {instruction('USER')} {volume}" in rest]
    assert owner


def test_the_ports_of_the_image_agree() -> None:
    """gunicorn listens on the exposed port, which the health check uses too."""
    port = listening_port(json.loads(instruction("CMD")))
    assert int(instruction("EXPOSE")) == port
    assert f"http://127.0.0.1:{port}/health" in instruction("HEALTHCHECK")


def test_the_command_of_the_image_serves_the_app_of_the_page(tmp_path: Path) -> None:
    """gunicorn accepts its command line, its settings and the app, which the extra `serve` installs."""
    words: list[str] = json.loads(instruction("CMD"))
    assert words[0] == "gunicorn" and "gunicorn>=" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    done = subprocess.run(
        [BIN / words[0], "--check-config", *words[1:]],
        cwd=tmp_path,
        env=shop(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert importlib.import_module(words[2].removeprefix("python:")) is gunicorn


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_migrates_before_it_serves(name: str) -> None:
    """The app waits for the migration, has time to stop, and publishes the port of the image to the host only."""
    services = compose(name)["services"]
    app = services["app"]
    assert services["migrate"]["command"] == ["flask", "convex", "migrate"]
    assert app["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert int(app["stop_grace_period"].removesuffix("s")) > GRACE
    assert app["ports"] == [f"127.0.0.1:8000:{instruction('EXPOSE')}"]


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_names_settings_commands_and_volumes_that_exist(name: str) -> None:
    """Each variable is a setting, each command parses, each volume and service is declared."""
    file = compose(name)
    for service in file["services"].values():
        settings(image_environment() | {key: str(value) for key, value in service.get("environment", {}).items()})
        if service.get("command", [""])[0] == "flask":
            parse(shlex.join(service["command"]))
        assert set(service.get("depends_on", {})) <= set(file["services"])
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in file["volumes"]
            assert "build" not in service or volume.split(":")[1] == instruction("VOLUME")


def test_compose_with_postgres_points_at_its_own_services() -> None:
    """The hosts of the settings are services, with the same user, database, port and credentials."""
    services = compose("compose.postgres.yaml")["services"]
    given = services["app"]["environment"]
    database, s3 = services["db"]["environment"], services["s3"]
    url = f"postgresql://{database['POSTGRES_USER']}@db/{database['POSTGRES_DB']}"
    assert given["FLASK_CONVEX_DATABASE_URL"] == url
    assert given["PGPASSWORD"] == database["POSTGRES_PASSWORD"]
    port = next(word for word in s3["command"] if word.startswith("-s3.port=")).partition("=")[2]
    assert given["AWS_ENDPOINT_URL"] == f"http://s3:{port}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert given[name] == s3["environment"][name]
    assert given["FLASK_CONVEX_WORKER"] == "off" and "FLASK_CONVEX_WORKER" not in services["worker"]["environment"]


# --- systemd ---------------------------------------------------------------------------------------------------------


def test_the_data_of_the_service_is_in_its_state_directory() -> None:
    """Both databases lie in the folder that systemd creates for the service."""
    found = settings(unit_environment())
    for url in (found.database_url, found.storage_url):
        assert folder_of(url) == Path("/var/lib") / unit("shop.service")["StateDirectory"]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_programs_that_exist(name: str) -> None:
    """The programs are those of the environment or of this folder, the commands parse, and the variables are ours."""
    section = unit(name)
    assert section["EnvironmentFile"] == "/etc/shop.env"
    assert section["User"] == section["Group"] == "shop"
    for key in ("ExecStartPre", "ExecStart"):
        words = section.get(key, "").split()
        if words and words[0].startswith("/srv/shop/venv/bin/"):
            assert (BIN / Path(words[0]).name).exists()
        elif words:
            assert (DEPLOY / Path(words[0]).name).exists()
        if words and words[0].endswith("/flask"):
            parse(shlex.join(["flask", *words[1:]]))


def test_the_service_has_time_to_stop() -> None:
    """systemd waits longer than gunicorn and the actions of its workers."""
    assert int(unit("shop.service")["TimeoutStopSec"]) > GRACE
    worker = unit("shop-worker.service")
    assert int(worker["TimeoutStopSec"]) > int(worker["ExecStart"].rpartition(" ")[2])


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` reports nothing except paths that do not exist on this machine."""
    for path in (*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")):
        text = path.read_text(encoding="utf-8").replace("/srv/shop/venv/bin", str(BIN))
        text = text.replace("/srv/shop/backup.sh", str(DEPLOY / "backup.sh"))
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [tool("systemd-analyze", "systemd"), "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("shop")]
    assert not complaints, done.stderr


def test_the_backup_script_keeps_the_newest_fourteen(tmp_path: Path) -> None:
    """Each run writes both copies; older ones go in pairs."""
    environment = shop(tmp_path) | {"FLASK": str(BIN / "flask")}
    backups = tmp_path / "backups"
    backups.mkdir()
    for day in range(1, 16):
        for ending in (".db", "-files.db"):
            (backups / f"2026-01-{day:02}T03-10-00Z{ending}").touch()
    subprocess.run([BIN / "flask", "convex", "migrate"], cwd=tmp_path, env=environment, check=True, timeout=60)
    subprocess.run([DEPLOY / "backup.sh", backups], cwd=tmp_path, env=environment, check=True, timeout=60)
    kept = sorted(path.name for path in backups.iterdir())
    assert len(kept) == 28
    assert kept[0].startswith("2026-01-03") and not kept[-1].startswith("2026-01")
    assert all((backups / name.replace("-files.db", ".db")).exists() for name in kept)
