"""A deployment's run: its records, what it must show, and how it is shown."""
