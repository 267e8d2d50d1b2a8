"""The doors: each translates one protocol to the services below."""
