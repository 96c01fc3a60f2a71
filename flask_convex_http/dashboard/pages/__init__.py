"""The pages of the dashboard, in the order of the navigation."""

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.pages import functions, history, keys, overview, tables

PAGES: tuple[Page, ...] = (overview.page, tables.page, functions.page, keys.page, history.page)
