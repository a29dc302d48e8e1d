"""Decode untrusted image files into the pixels that a backbone takes."""
