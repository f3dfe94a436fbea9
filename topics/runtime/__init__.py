"""The one delivery path: at least once in, exactly once in effect (DESIGN.md, section 4)."""
