"""`flask shell`: what an app's shell has."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.cli import shell_command

from flask_convex_http import ConvexHTTP, Document, Id, MutationCtx, QueryCtx, Schema, internal_mutation, internal_query


class Lamp(Document, table="lamps"):
    name: str


@internal_mutation
def add(ctx: MutationCtx, *, name: str) -> Id[Lamp]:
    return ctx.db.insert(Lamp(name=name))


@internal_query
def names(ctx: QueryCtx) -> list[str]:
    return [lamp.name for lamp in ctx.db.query(Lamp).collect()]


@internal_query
def g(ctx: QueryCtx) -> None:
    pass


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask(__name__)
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    convex = ConvexHTTP(app, schema=Schema(Lamp), functions=[add, names, g])
    with app.app_context():
        convex.migrate()
        yield app
        convex.backend.close()


def test_the_shell_runs_functions_and_reads_documents(app: Flask) -> None:
    """A shell names documents, functions and ctx without an import, prints what there is, and runs any code."""
    typed = "ctx.run_mutation(add, name='one')\nwrite(lambda ctx: ctx.db.insert(Lamp(name='two')))\n"
    typed += "read(lambda ctx: [lamp.name for lamp in ctx.db.query(Lamp).collect()])\n"
    shell = app.test_cli_runner().invoke(shell_command, input=typed)
    assert "['one', 'two']" in shell.stdout
    assert "There are convex, ctx, read, write, Lamp, functions by name" in shell.stderr
    assert "Traceback" not in shell.stderr


def test_the_context_of_other_shells_is_silent(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    """Another shell gets the same names, and nothing is printed."""
    context = app.make_shell_context()
    assert context["ctx"].run_query(context["names"]) == []
    assert context["test_shell"].Lamp is Lamp
    assert context["convex"].schema.tables["lamps"].document is Lamp
    assert capsys.readouterr() == ("", "")


def test_names_of_flask_stay(app: Flask) -> None:
    """A function does not replace a name of Flask's own shell."""
    assert app.make_shell_context()["g"] is not g
