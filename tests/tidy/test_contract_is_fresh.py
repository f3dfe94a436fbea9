"""docs/schemas, docs/asyncapi.json ← catalogue and events: what strangers build on is what the code says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operations.pages import contract
from operations.stack.home import CHECKOUT
from topics.catalog import ROOMS, TOPICS


def references(part: Any) -> Iterator[str]:
    """Every $ref in a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def resolve(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_schemas_and_asyncapi_are_what_tally_schemas_would_write() -> None:
    assert contract.stale(CHECKOUT / "docs") == []


def test_a_changed_and_a_left_over_file_are_written_anew_and_deleted(tmp_path: Path) -> None:
    contract.write(tmp_path)
    (tmp_path / "schemas" / "Forgotten.v1.json").write_text("{}")
    (tmp_path / "asyncapi.json").write_text("{}")
    assert contract.write(tmp_path) == ["asyncapi.json", "schemas/Forgotten.v1.json"]
    assert contract.stale(tmp_path) == []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = contract.document()
    for reference in references(document):
        if reference.startswith("./"):
            assert (CHECKOUT / "docs" / reference).is_file()
        else:
            assert resolve(document, reference)


def test_every_topic_is_a_channel_that_a_room_sends_to() -> None:
    operations = contract.document()["operations"].values()
    sent_to = {operation["channel"]["$ref"] for operation in operations if operation["action"] == "send"}
    assert sent_to == {f"#/channels/{topic.name}" for topic in TOPICS}
    assert len(operations) == sum(len(room.writes) + sum(topic.on_kafka for topic in room.reads) for room in ROOMS)
