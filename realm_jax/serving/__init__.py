"""A run as a server: a page, and a JSON API."""
