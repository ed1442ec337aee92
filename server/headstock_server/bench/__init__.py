"""Commands that measure a server and read what it recorded."""
