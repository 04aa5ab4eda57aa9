"""Entry points: each job reads an experiment, calls the library, and is short."""
