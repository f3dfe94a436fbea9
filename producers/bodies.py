"""A body → what it asks for, or the problem with it: one way for all routes that take JSON."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from producers.problems import broken
from schemas.requests import field_errors, repeated_field

Model = TypeVar("Model", bound=BaseModel)


def parsed(model: type[Model], body: bytes) -> Model:
    """Errors: Problem that names the fields at fault."""
    try:
        asked = model.model_validate_json(body)
    except ValidationError as error:
        raise broken(field_errors(error, body)) from None
    if repeated := repeated_field(body):
        raise broken([repeated])
    return asked
