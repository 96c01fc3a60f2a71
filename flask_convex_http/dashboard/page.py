"""`Page`: a page of the dashboard, and the routes below it.

A file in `pages/` makes one and adds its views:

    page = Page("files", "Files")

    @page.get()
    def index(visit: Visit) -> Response:
        return visit.render("files.html", files=...)

    @page.post("/<file>/delete")
    def delete(visit: Visit, file: str) -> Response:
        ...
        return visit.redirect("files_index", done="Deleted the file.")

The endpoint of a view is the name of its page and its own: `visit.url("files_index")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

V = TypeVar("V", bound=Callable[..., Any])


class Route(NamedTuple):
    """A route of a page.

    Attributes:
        path: Its path below `/_convex`, with Flask's converters.
        endpoint: The name for `visit.url`.
        method: GET or POST.
        view: The view, which receives a `Visit` and the values of the path.
        max_body_bytes: The largest request body; None for the setting.
    """

    path: str
    endpoint: str
    method: str
    view: Callable[..., Any]
    max_body_bytes: int | None


class Page:
    """A page of the dashboard.

    Args:
        name: Its name, which is its path below `/_convex` and the start of its endpoints.
        title: Its title in the navigation.
        path: Its path, if that is another one.
    """

    def __init__(self, name: str, title: str, path: str | None = None) -> None:
        self.name = name
        self.title = title
        self.path = f"/{name}" if path is None else path
        self.routes: list[Route] = []

    @property
    def home(self) -> str:
        """The endpoint of its first view, to which the navigation leads."""
        return self.routes[0].endpoint

    def get(self, path: str = "") -> Callable[[V], V]:
        """Add a view that shows something and changes nothing.

        Args:
            path: The path below the page's.
        """
        return self._added(path, "GET", None)

    def post(self, path: str = "", *, max_body_bytes: int | None = None) -> Callable[[V], V]:
        """Add a view that changes something. A session that is read-only does not reach it.

        Args:
            path: The path below the page's.
            max_body_bytes: The largest request body; None for the setting.
        """
        return self._added(path, "POST", max_body_bytes)

    def _added(self, path: str, method: str, max_body_bytes: int | None) -> Callable[[V], V]:
        def add(view: V) -> V:
            endpoint = f"{self.name}_{view.__name__}"
            self.routes.append(Route(self.path + path, endpoint, method, view, max_body_bytes))
            return view

        return add
