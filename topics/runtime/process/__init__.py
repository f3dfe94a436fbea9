"""One process: the Kafka loop, upkeep, health, metrics."""
