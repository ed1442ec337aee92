"""Light client for a Headstock server."""
