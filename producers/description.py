"""The API's routes → its OpenAPI description: scopes, bodies, codes. Query parameters that are not described are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from producers import examples, replies
from producers.bodies import refuse_others
from producers.doors.endpoints import EndpointRequest
from producers.house import SCOPES_NEEDED
from producers.routes import (
    break_work,
    money_back,
    operators,
    payout_approvals,
    payouts,
    recon_closes,
    resolutions,
    reviews,
    settlement_files,
)
from schemas.requests import CheckoutSessionRequest, PaymentRequest
from schemas.sellers import SellerRequest

BODIES: tuple[type[BaseModel], ...] = (
    PaymentRequest,
    CheckoutSessionRequest,
    *money_back.BODIES,
    EndpointRequest,
    SellerRequest,
    *payouts.BODIES,
    replies.ProblemDocument,
    *operators.BODIES,
    *reviews.BODIES,
    *payout_approvals.BODIES,
    *resolutions.BODIES,
    *settlement_files.BODIES,
    *recon_closes.BODIES,
    *break_work.BODIES,
)


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> Any:
    """A function that makes the description: FastAPI's, with API keys, examples and the bodies that FastAPI does not read."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            components = schema.setdefault("components", {})
            components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"apiKey": []}]
            for model in BODIES:
                described = model.model_json_schema(ref_template="#/components/schemas/{model}")
                components["schemas"] |= described.pop("$defs", {}) | {model.__name__: described}
            for name, example in examples.OF.items():
                components["schemas"][name]["examples"] = [example]
            for route in routes(routers):
                _say_who_may_ask(schema, route)
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi


def routes(routers: Sequence[APIRouter]) -> list[APIRoute]:
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def _say_who_may_ask(schema: dict[str, Any], route: APIRoute) -> None:
    """Describe the scope that the route's key needs, or that the route needs no key."""
    if not route.include_in_schema:
        return
    calls = [dependency.call for dependency in route.dependant.dependencies]
    scopes = [SCOPES_NEEDED[call] for call in calls if call in SCOPES_NEEDED]
    for method in route.methods or ():
        schema["paths"][route.path][method.lower()]["security"] = [{"apiKey": scopes}] if scopes else []


def methods(routers: Sequence[APIRouter], path: str) -> list[str]:
    """All methods of this path."""
    return sorted(
        {method for route in routes(routers) if route.path_regex.match(path) for method in route.methods or ()}
    )


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def nothing_undocumented(request: Request) -> None:
    """A dependency of every route. Errors: Problem `invalid_parameter` for a parameter that would be ignored."""
    query: bytes = request.scope["query_string"]
    if query:
        refuse_others(query, _documented(request))


def _documented(request: Request) -> dict[str, bool]:
    """The route's query parameters, and whether each may be repeated."""
    path = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = path.get(request.method.lower(), {}).get("parameters", ())
    return {one["name"]: one["schema"].get("type") == "array" for one in parameters if one["in"] == "query"}
