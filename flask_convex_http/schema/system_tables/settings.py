"""The table of the settings of the database itself."""

from __future__ import annotations

from flask_convex_http.schema.documents import Document, unique


class Setting(Document, table="_settings", indexes={"by_key": unique("key")}):
    """A setting of the database itself, such as the shape of its tables or the deployment's secret."""

    key: str
    value: str
