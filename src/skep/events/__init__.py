"""Typed events, the change journal of each space, and subscriptions."""
