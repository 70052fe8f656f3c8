"""Raw audio, video and transcripts to features; needs the extra `media` (README.md here)."""
