"""The pages of the dashboard, in the order of the navigation."""

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.pages import functions, history, keys, overview

PAGES: tuple[Page, ...] = (overview.page, functions.page, keys.page, history.page)
