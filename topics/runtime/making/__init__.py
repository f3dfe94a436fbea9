"""Creates topics, roles, schemas and tables."""
