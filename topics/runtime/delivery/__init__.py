"""A batch of messages → one transaction."""
