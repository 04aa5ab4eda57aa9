"""The Python object of a run: questions answered, masks filled, and what each passage did for it."""
