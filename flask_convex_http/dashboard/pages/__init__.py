"""The pages of the dashboard, in the order of the navigation."""

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.pages import keys, overview

PAGES: tuple[Page, ...] = (overview.page, keys.page)
