"""Linen blocks that several systems share; no losses."""
