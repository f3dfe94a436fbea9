"""What one process does: the Kafka loop, upkeep, health, metrics."""
