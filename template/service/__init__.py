"""A report service: one crew for each request, on as many replicas as you like."""
