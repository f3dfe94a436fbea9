"""The catalogue's topics, made on the broker. Can be run again at any time; never deletes, never re-partitions."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from topics.catalog import DAYS, PARTITIONS, Topic, all_topics
from topics.runtime.shape.kafka import kafka_config
from topics.settings import Settings


def topic_config(topic: Topic, replicas: int) -> dict[str, str]:
    """Retention, compaction, whose clock stamps the records, and how many brokers have what is acknowledged."""
    config = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": "-1" if topic.retention_days is None else str(topic.retention_days * DAYS * 1000),
        "message.timestamp.type": "LogAppendTime" if topic.door else "CreateTime",
        # A dead letter is its message and some headers more: it must always fit.
        "max.message.bytes": "2097152" if topic.name.endswith(".dlq.v1") else "1048588",
    }
    if replicas >= 3:
        config["min.insync.replicas"] = "2"  # rows of an outbox go once Kafka has them: one disk is not enough
    return config | ({"min.cleanable.dirty.ratio": "0.1"} if topic.compacted else {})


def apply_topics(settings: Settings, partitions: int = PARTITIONS) -> list[str]:
    """Make what is missing and correct settings that differ; says what was done, a line each.

    `partitions` are those of new topics where neither catalogue nor settings say.

    Errors: KafkaException where the broker is away; Repartitioned, with all done that can be, where topics that exist have
    another number of partitions.
    """
    admin = AdminClient(kafka_config(settings))
    wanted = {settings.topic_prefix + name: topic for name, topic in all_topics(settings.upstreams).items()}
    present = admin.list_topics(timeout=15).topics
    missing = {name: topic for name, topic in wanted.items() if name not in present}
    done = _make(admin, missing, settings.partitions or partitions, settings.replication_factor)
    kept = {name: topic for name, topic in wanted.items() if name in present}
    done += _correct(admin, kept, settings.replication_factor)
    counts = {name: len(present[name].partitions) for name in kept}
    said = {name: topic.partitions or settings.partitions or counts[name] for name, topic in kept.items()}
    if other := [
        f"{name} has {counts[name]} partitions, not {said[name]}" for name in kept if counts[name] != said[name]
    ]:
        raise Repartitioned(done, other)
    return done


class Repartitioned(Exception):
    """Topics have another number of partitions than the catalogue or the settings say. `done` are lines as ever."""

    def __init__(self, done: list[str], other: list[str]) -> None:
        why = "the order of a key's events hangs on their number. Is TALLY_PARTITIONS as it was when the topics were made?"
        super().__init__(f"{'; '.join(other)}: {why}")
        self.done = done


def _make(admin: AdminClient, missing: dict[str, Topic], partitions: int, replicas: int) -> list[str]:
    new = [
        NewTopic(name, topic.partitions or partitions, replicas, config=topic_config(topic, replicas))
        for name, topic in missing.items()
    ]
    for future in admin.create_topics(new, operation_timeout=30).values() if new else ():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
    return [f"topic {name} made" for name in missing]


def _correct(admin: AdminClient, topics: dict[str, Topic], replicas: int) -> list[str]:
    if not topics:
        return []
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    changed = []
    for resource, future in admin.describe_configs(resources).items():
        now = {key: entry.value for key, entry in future.result().items()}
        wanted = topic_config(topics[resource.name], replicas)
        if any(now.get(key) != value for key, value in wanted.items()):
            changed.append(ConfigResource(ResourceType.TOPIC, resource.name, set_config=wanted))
    for future in admin.alter_configs(changed).values() if changed else ():
        future.result()
    return [f"topic {resource.name} corrected" for resource in changed]


def delete_topics(settings: Settings) -> None:
    """Remove every topic under this installation's prefix; for tests and benchmarks, which have a prefix of their own."""
    assert settings.topic_prefix, "refusing to delete topics without a prefix"
    admin = AdminClient(kafka_config(settings))
    names = [name for name in admin.list_topics(timeout=15).topics if name.startswith(settings.topic_prefix)]
    for future in admin.delete_topics(names).values() if names else ():
        future.result()
