"""Guards: decorators that check the caller before a handler runs, by API key, token, identity or rate."""
