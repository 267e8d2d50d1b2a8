"""What the doors share: authentication, conditions, ranges, bodies."""
