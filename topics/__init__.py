"""The catalogue of topics and rooms, and the runtime that delivers messages."""
