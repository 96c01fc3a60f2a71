"""The PostgreSQL engine: transactions over the rows of one database enter, statements for psycopg and libpq leave."""
