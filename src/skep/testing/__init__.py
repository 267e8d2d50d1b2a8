"""Doubles that tests may use: clock, faulty and slow stores, an in-process hive."""
