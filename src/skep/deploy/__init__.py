"""The ground a hive or any other program stands on: `git push` a stack, and it runs on a fleet of servers.

Its rooms, from the ground up, are in docs/ARCHITECTURE.md; the package knows nothing of the hive and installs alone
(`pip install skep[deploy]`).
"""
