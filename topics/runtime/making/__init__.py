"""Topics, schemas and tables made."""
