"""The Python object of a run: questions answered, masks filled, and the part that each passage had in it."""
