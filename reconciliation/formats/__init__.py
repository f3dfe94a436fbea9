"""Readers: the bytes of a file → lines and what the file says of itself. Pure: no clock, no I/O."""
