"""Readers, one for each file format of the field."""
