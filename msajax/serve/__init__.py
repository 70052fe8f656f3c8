"""A page in the browser to try a run: upload or record a clip, and see its score."""
