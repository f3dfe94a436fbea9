"""What comes through a hot door, and what goes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Submission(ABC, Generic[Body]):
    """A body that keeps the contract, and what came with it."""

    owner: str
    request: Body
    idempotency_key: str | None = None
    traceparent: str | None = None

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the thing can be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The 202, the first or again."""

    reply: bytes
    replayed: bool
