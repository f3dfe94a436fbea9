"""The local Kafka's storage."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from operations.stack import kafka
from operations.stack.home import Home
from operations.stack.jars import class_path


def test_storage_is_made_under_any_cluster_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One random id in 64 begins with a dash."""
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" * 16))
    home = Home(tmp_path)
    for folder in (home.kafka, home.logs):
        folder.mkdir(parents=True)
    kafka.format_storage(home, class_path(), 9092, 9192)
    assert "cluster.id=-Pj4" in (home.kafka / "data" / "meta.properties").read_text()
