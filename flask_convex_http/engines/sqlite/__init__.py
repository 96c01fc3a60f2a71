"""The SQLite engine: transactions over the rows of one file enter, statements for `flask_convex_http.sqlite` leave."""
