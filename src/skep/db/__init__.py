"""The relational schema, the engine and the unit of work."""
