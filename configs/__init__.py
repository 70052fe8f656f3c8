"""Recipes: one file per system."""
