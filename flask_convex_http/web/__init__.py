"""The edge: everything that knows Flask. What a handler calls lives below and knows no HTTP."""
