"""The local stack: Kafka, PostgreSQL, the simulator and all rooms on one machine, held by one supervisor."""
