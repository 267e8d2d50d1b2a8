"""Stacks on this machine, without an HQ: the same plan, engine and journal, in a folder of the user's."""
