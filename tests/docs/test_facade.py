"""The facade exports what the README documents, no more and no less."""

import types

import flask_convex_http
import flask_convex_http.testing
from tests.docs.readme import README, rows, spans


def exported(module: types.ModuleType) -> set[str]:
    """The public names of a module, without the modules below it."""
    found = vars(module).items()
    return {name for name, value in found if not name.startswith("_") and not isinstance(value, types.ModuleType)}


def documented() -> list[str]:
    """The names in the README's list of public names."""
    return [name for row in rows("Public names") for name in spans(row[1])]


def test_what_is_exported_is_documented() -> None:
    """The public names of the package are exactly those that the README lists, each once."""
    assert sorted(documented()) == sorted(exported(flask_convex_http))


def test_every_documented_name_is_shown_or_explained() -> None:
    """Each public name stands somewhere else in the README too, or is one of those that explain themselves."""
    text = README.partition("## Public names")[0]
    alone = {name for name in documented() if f"`{name}`" not in text and name not in text}
    assert alone == {
        *("ConfigurationError", "EngineError", "FunctionCallError", "MigrationRefusedError", "NotUniqueError"),
        *("ConvexHTTPError", "QueryError", "RegistrationError", "ReturnsValidationError"),
        "SchedulingError",
    }


def test_the_names_for_tests_are_there() -> None:
    """`flask_convex_http.testing` has what the README names."""
    assert {"Clock", "memory_backend"} <= exported(flask_convex_http.testing)


def test_the_facade_tells_a_requests_way() -> None:
    """The package's docstring says in numbered steps how a request goes."""
    assert "way through the package" in (flask_convex_http.__doc__ or "")
