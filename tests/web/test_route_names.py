"""Rules of the package as people write them."""

from pathlib import Path

import pytest

from flask_convex_http.web.route_names import is_of_package, route_name
from tests.web.apps import deployed


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("/hooks/<convex_rest:suffix>", "/hooks/*"),
        ("/orders/<convex_end:convex_end>", "/orders/"),
        ("/orders/<int:order>/<path:rest>", "/orders/<int:order>/<path:rest>"),
    ],
)
def test_route_name(rule: str, name: str) -> None:
    """A rule has `*` for the rest of a path, and none of the package's converters."""
    assert route_name(rule) == name


def test_routes_of_the_package(tmp_path: Path) -> None:
    """The endpoints of the function API are named as clients write them."""
    with deployed(tmp_path, function_api=True) as app:
        rules = {rule.rule for rule in app.url_map.iter_rules()}
    names = {route_name(rule) for rule in rules if is_of_package(rule)}
    assert {"/api/query", "/api/mutation", "/api/run/*"} <= names
    assert not any("convex_" in name for name in map(route_name, rules))
