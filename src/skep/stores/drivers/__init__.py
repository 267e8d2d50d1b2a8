"""One module per kind of store; reached through the registry alone."""
