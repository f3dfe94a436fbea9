"""What tests of several pages of reconciliation begin with. Other rooms' tests have a `room` of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reconciling import Room
from topics.settings import Settings


@pytest.fixture
def room(stored: Settings) -> Iterator[Room]:
    """Reconciliation, of which no message may become a dead letter."""
    room = Room(stored)
    yield room
    room.close()
    assert room.dead == 0
