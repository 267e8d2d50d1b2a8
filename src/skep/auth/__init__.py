"""Users, groups, credentials, sessions and tokens."""
