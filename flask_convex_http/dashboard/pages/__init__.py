"""The pages of the dashboard, in the order of the navigation."""

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.pages import (
    files,
    functions,
    history,
    jobs,
    keys,
    logs,
    overview,
    sample_deliveries,
    tables,
)

PAGES: tuple[Page, ...] = (
    overview.page,
    tables.page,
    functions.page,
    sample_deliveries.page,
    jobs.page,
    files.page,
    keys.page,
    logs.page,
    history.page,
)
