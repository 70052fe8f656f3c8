"""Recipes: one file per system and dataset."""
