"""What is in force and what was said: configuration, log, and the card of the model."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from node.config_file import load
from node.errors import ConfigInvalid
from node.settings_view import Effective, effective
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
        """Return the keys in force; a file that is no longer theirs tells no origins."""
        settings, path = self._office.settings, self._office.configuration().path
        try:
            loaded = load(Path(path) if path else None, os.environ)
        except ConfigInvalid:
            return effective(settings, {})
        return effective(settings, loaded.origins if loaded.settings == settings else {})

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
