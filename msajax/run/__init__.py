"""A run: its recipe, its folder and what is done with both."""
