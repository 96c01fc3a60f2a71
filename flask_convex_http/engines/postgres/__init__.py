"""The PostgreSQL engine: documents as rows, in serializable transactions that are retried."""
