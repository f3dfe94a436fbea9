"""The parts of a room: consumer, records, store, tables, clock."""
