"""The one delivery path: at least once in, exactly once in effect (docs/architecture.md)."""
