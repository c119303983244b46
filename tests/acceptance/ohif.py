"""OHIF from its npm package, served beside an Orthanc's DICOMweb, on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

PACKAGE = "@ohif/app@3.13.2"
_DATA_SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "dicomweb",
    "configuration": {
        "friendlyName": "Orthanc",
        "name": "orthanc",
        "wadoUriRoot": "/wado",
        "qidoRoot": "/dicom-web",
        "wadoRoot": "/dicom-web",
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True},
    },
}
_CONFIG = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "defaultDataSourceName": "dicomweb",
    "dataSources": [_DATA_SOURCE],
}
_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_HOP = ("content-length", "transfer-encoding", "connection", "content-encoding")


def unpacked(cache: Path) -> Path:
    """Return the folder of OHIF's page, fetched with npm when it is not there yet."""
    dist = cache / "package" / "dist"
    if not dist.is_dir():
        npm = shutil.which("npm") or "npm"
        done = subprocess.run(
            [npm, "pack", "--silent", PACKAGE],
            cwd=cache,
            capture_output=True,
            text=True,
            check=True,
        )
        with tarfile.open(cache / done.stdout.strip().splitlines()[-1]) as packed:
            packed.extractall(cache, filter="data")
    return dist


def application(dist: Path, orthanc_url: str) -> Starlette:
    """Return the page and, on the same origin, the way to Orthanc."""

    async def on_config(_request: Request) -> Response:
        text = f"window.config = {json.dumps(_CONFIG)};"
        return PlainTextResponse(text, media_type="text/javascript", headers=_ISOLATED)

    async def on_dicom(request: Request) -> Response:
        accept = {"accept": request.headers.get("accept", "*/*")}
        path = f"{request.url.path}?{request.url.query}".rstrip("?")
        async with httpx.AsyncClient(base_url=orthanc_url, timeout=30) as client:
            answer = await client.get(path, headers=accept)
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return Response(answer.content, answer.status_code, kept | _ISOLATED)

    async def on_page(request: Request) -> Response:
        path = dist / request.url.path.lstrip("/")
        return FileResponse(path if path.is_file() else dist / "index.html", headers=_ISOLATED)

    routes: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/app-config.js": on_config,
        "/dicom-web/{path:path}": on_dicom,
        "/wado": on_dicom,
        "/{path:path}": on_page,
    }
    return Starlette(routes=[Route(path, answer) for path, answer in routes.items()])
