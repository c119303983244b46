"""What is in force and what was said: configuration, log, and the card of the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from node.clock import as_datetime
from node.config_file import load
from node.errors import ConfigInvalid
from node.settings_view import Effective, effective
from node.support import Subject, write_support_bundle
from node.web.office import Office
from node.web.parts import Parts, wants_json

_LEVELS = {"all": logging.NOTSET, "warning": logging.WARNING, "error": logging.ERROR}


class House:
    """Pages to read."""

    def __init__(self, parts: Parts, office: Office) -> None:
        self._parts = parts
        self._office = office

    def configuration(self, request: Request) -> Response:
        """Show every key with its value in force, and where that comes from."""
        keys, state = self._effective(), self._office.configuration()
        if wants_json(request):
            return JSONResponse([vars(one) for one in keys])
        changed = [one for one in keys if one.origin != "default"]
        return self._parts.pages.page(
            request, "configuration.html", keys=keys, num_set=len(changed), state=state
        )

    def _effective(self) -> list[Effective]:
        """Return the keys in force."""
        return effective(self._office.settings, self._origins())

    def _origins(self) -> Mapping[str, str]:
        """Return where the settings in force are written; none where the file is another by now."""
        path = self._office.configuration().path
        try:
            loaded = load(Path(path) if path else None, os.environ)
        except ConfigInvalid:
            return {}
        return loaded.origins if loaded.settings == self._office.settings else {}

    def support(self, _request: Request) -> Response:
        """Send what somebody who helps from afar needs to see; no patient is in it."""
        office = self._office
        packed = BytesIO()
        log = [line.text for line in reversed(office.tail.lines())]
        subject = Subject(office.settings, office.database, self._origins())
        write_support_bundle(packed, subject, log=log)
        name = f"cxr-node-support-{as_datetime(self._parts.clock.now()):%Y%m%d-%H%M%S}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(packed.getvalue(), media_type="application/zip", headers=headers)

    def log(self, request: Request) -> Response:
        """Show the latest lines of the log."""
        level = request.query_params.get("level", "all")
        lines = self._office.tail.lines(_LEVELS.get(level, logging.NOTSET))
        if wants_json(request):
            return JSONResponse([line.text for line in lines])
        return self._parts.pages.page(
            request, "log.html", lines=lines, level=level, levels=tuple(_LEVELS)
        )

    def model(self, request: Request) -> Response:
        """Show what is known of the models that draft."""
        models = self._office.models
        if wants_json(request):
            return JSONResponse([one["manifest"] | {"digest": one["digest"]} for one in models])
        return self._parts.pages.page(request, "model.html", models=models)
