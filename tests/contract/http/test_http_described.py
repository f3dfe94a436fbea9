"""The API says what it takes, of whom and in which codes; what it does not name it refuses; its pages need no internet."""

from __future__ import annotations

import json
import re

import pytest

from producers.api import ROUTERS
from producers.description import BODIES, routes
from producers.examples import OF
from producers.problems import CODES
from producers.replies import Payment
from tests.contract.http.door import Door

ASKED = sorted({(method, route.path) for route in routes(ROUTERS) for method in route.methods or ()})
OPEN = {"/healthz", "/readyz", "/metrics", "/errors", "/v1/psp-notifications/{psp}"}


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


@pytest.mark.parametrize(("method", "path"), [*ASKED, ("POST", "/v1/payments")])
def test_a_parameter_that_a_route_does_not_name_is_refused(method: str, path: str, door: Door) -> None:
    reply = door.send(method, f"{filled(path)}?as_of=2020-01-01", b"{}" if method in {"POST", "PUT"} else None)
    assert (reply.status, reply.json["code"], reply.json["field"]) == (400, "invalid_parameter", "as_of")


def test_a_parameter_with_one_value_is_given_once(door: Door) -> None:
    assert door.get("/v1/payments?limit=1&limit=2").json["field"] == "limit"
    assert door.get("/v1/ops/letters?state=dead&state=parked").status == 200


def test_every_parameter_with_one_value_is_given_once(door: Door) -> None:
    """The last one held, and the first in a proxy or a log: which time, which room, which page?"""
    paths = door.get("/openapi.json", key="").json["paths"]
    named = [(path, one) for path, methods in paths.items() for one in methods.get("get", {}).get("parameters", ())]
    single = [
        (path, one["name"]) for path, one in named if one["in"] == "query" and one["schema"].get("type") != "array"
    ]
    assert ("/v1/payments", "from") in single
    assert len(single) > 20
    for path, name in single:
        for values in (f"{name}=2020-01-01&{name}=2021-01-01", f"{name}=1&{name}=1"):
            reply = door.get(f"{filled(path)}?{values}")
            told = reply.json
            assert (reply.status, told["field"], told["detail"]) == (
                400,
                name,
                f"{name}: this parameter is given twice",
            )


def test_a_parameter_that_may_be_a_card_number_is_not_repeated(door: Door) -> None:
    reply = door.get("/v1/payments?4111111111111111=1")
    assert (reply.status, reply.json["field"], b"4111" in reply.body) == (400, "…", False)


def test_a_method_that_is_not_taken_is_told_all_that_are(door: Door) -> None:
    one = "/v1/webhook-endpoints/x"
    for path, allowed in (("/v1/payments", "GET, POST"), (one, "DELETE, GET, PUT"), ("/healthz", "GET")):
        reply = door.send("PATCH", path, b"{}")
        assert (reply.status, reply.headers["allow"]) == (405, allowed)


def test_the_description_says_which_routes_need_no_key_and_which_scope_the_others_need(door: Door) -> None:
    paths = door.get("/openapi.json", key="").json["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert (operation["security"] == []) == (path in OPEN), path
            answer = door.send(method.upper(), filled(path), b"{}" if method in {"post", "put"} else None, key="")
            assert (answer.status == 401) == (path not in OPEN) or path.startswith("/v1/psp"), path
    assert paths["/v1/payments"]["post"]["security"] == [{"apiKey": ["payments:write"]}]
    assert paths["/v1/ops/replays"]["post"]["security"] == [{"apiKey": ["ops:act"]}]


def test_the_description_has_every_code_and_typed_answers_for_operators(door: Door) -> None:
    schema = door.get("/openapi.json", key="").json
    for shape in ("ProblemDocument", "FieldAtFault"):
        assert schema["components"]["schemas"][shape]["properties"]["code"]["enum"] == list(CODES)
    for path, methods in schema["paths"].items():
        for operation in methods.values() if path.startswith("/v1/ops") else ():
            (done,) = [answer for status, answer in operation["responses"].items() if status.startswith("20")]
            (content,) = done["content"].values()
            assert content["schema"], path


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"reason": "r" * 5000}, {"room": "p", "letters": []}, {"max": 0}])
def test_no_error_has_a_code_that_is_in_no_table(wrong: dict[str, object], door: Door) -> None:
    body = {"room": "payments", "filter": {}, "reason": "why", "dry_run": True} | wrong
    reply = door.send("POST", "/v1/ops/replays", json.dumps(body).encode())
    assert {error["code"] for error in reply.json["errors"]} <= set(CODES)


def test_examples_are_what_the_contract_takes(door: Door) -> None:
    shown = door.get("/openapi.json", key="").json["components"]["schemas"]
    models = {model.__name__: model for model in (*BODIES, Payment)}
    for name, example in OF.items():
        models[name].model_validate_json(json.dumps(example))
        assert shown[name]["examples"] == [example]


def test_the_page_of_the_description_needs_no_internet(door: Door) -> None:
    page = door.get("/docs", key="").body.decode()
    assert re.findall(r"https?://[^\s\"']*", page) == []
    assets = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert len(assets) == 3
    for asset in assets:
        reply = door.get(f"/{asset}", key="")
        assert (reply.status, len(reply.body) > 1000) == (200, True), asset
    assert door.get("/docs/core.py", key="").status == 404


def test_every_shape_that_is_spoken_of_is_described(door: Door) -> None:
    text = door.get("/openapi.json", key="").body.decode()
    spoken_of = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert spoken_of - json.loads(text)["components"]["schemas"].keys() == set()
