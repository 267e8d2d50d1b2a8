"""A hive, its stores, its users and their bad luck in one thread, from one number.

    python -m skep.testing.simulation --seeds 0:1000 --jobs 2
    python -m skep.testing.simulation --seeds 4711 --trace

What is real: the hive, from its composition root down to SQLite. What is simulated: the event loop with its time
(loop.py), what happens in threads (loop.py, database.py), chance and ids (world.py), and the stores with their faults
(places.py). A run has several lives: in each the hive is opened on what the last one left in its stores and its
database, users work (users.py) while an operator and the weather make trouble (trouble.py), until the life ends or the
process dies between two turns of the loop. At times, and at the end, all heals and history.py says what must be true.
"""
