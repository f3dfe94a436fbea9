"""The API's description, and Swagger UI from an installed package, without requests to the internet."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from producers.problems import Problem

router = APIRouter(tags=["service"], include_in_schema=False)

ASSETS = Path(str(files("fastapi_offline")), "static")  # only the package's files are used
SERVED = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


@router.get("/openapi.json")
async def description(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs() -> Response:
    """Swagger UI with relative addresses, so that it works behind a proxy's path, and without the badge of a public validator."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Tallystick API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},
    )


@router.get("/docs/{asset}")
async def asset(asset: str) -> Response:
    if asset not in SERVED:
        raise Problem("not_found")
    return FileResponse(ASSETS.joinpath(asset), headers={"cache-control": "max-age=86400"})


@router.get("/redoc")
async def redoc() -> Response:
    return RedirectResponse("docs")
