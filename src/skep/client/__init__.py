"""The HTTP client of the JSON API."""
