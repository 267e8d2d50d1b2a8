"""What a `quarry.yml` declares: jobs as records, read from the file with line and column, and their environment.

``records`` holds the declared stack; the annotated examples in ``examples/`` are its manual, its schema and its tests.
"""
