"""Launches: a stack becomes instructions, instructions become slices, and a crash leaves the old or the new."""
