"""Outbox rows and current rows of compacted topics → Kafka."""
