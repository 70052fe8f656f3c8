"""The trainer: steps, epochs, validation, checkpoints; the same for every system."""
