"""Settings that change while the node runs: read again, judged, and put into force.

A new node takes the place of the old one on the same premises (`node.premises`), while images come
in without a pause: the new one listens before the old one stops to. Associations that are open go
on under the rules of then, for as long as a silent one might. A file with mistakes changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from engine.errors import CxrError
from node.app import Node
from node.clock import SystemClock
from node.config import Settings
from node.config_file import load
from node.configuration_state import ConfigurationState
from node.errors import ConfigInvalid
from node.logs import get_logger, say
from node.settings_view import changed

_LOG = get_logger("config")

FIXED: Final = (
    *("engine.bundle", "engine.backend", "engine.num_threads", "engine.challenger"),
    *("node.roles", "node.bind", "node.web.bind"),
    *("node.storage.root", "node.storage.objects", "node.ledger"),
    *("node.work.dispatch", "node.work.draft_timeout_s", "node.work.engine_memory_mb"),
    *("node.audit.enabled", "node.audit.file"),
)
"""What the process, its models or its premises are built on: other values need a restart."""

_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Source:
    """Where the settings come from, and what else is to be done when they change."""

    path: Path | None
    """The file; None where there is none."""
    environment: Mapping[str, str]
    on_loaded: Callable[[Settings], None] = lambda _: None

    def stamp(self) -> _Stamp:
        """Return what changes when somebody writes the file; None where it cannot be looked at."""
        try:
            known = None if self.path is None else self.path.stat()
        except OSError:
            return None
        return known and (known.st_mtime_ns, known.st_size, known.st_ino)


def needs_restart(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return the settings that differ and that a running process cannot change."""
    return tuple(
        key
        for key in changed(before, after)
        if any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED)
    )


class Reloader:
    """Keeps a node in step with its configuration file.

    Parameters
    ----------
    node
        The one that runs; another takes its place (`node`) when settings change.
    """

    def __init__(self, node: Node, source: Source) -> None:
        self.node = node
        self._source = source
        self._clock = SystemClock()
        self._taken = self._last = source.stamp()
        path = "" if source.path is None else str(source.path)
        node.note_configuration(ConfigurationState(self._clock.now(), path))

    def look(self) -> None:
        """Take a file that was changed, once it has been the same for two looks.

        An editor may write it in two goes, and the first half of a file can be valid.
        """
        stamp, before = self._source.stamp(), self._last
        self._last = stamp
        watches = self.node.settings.node.reload == "watch"
        if watches and stamp is not None and stamp == before and stamp != self._taken:
            self.reload()

    def reload(self) -> None:
        """Read the settings and certificates again; what is wrong with them changes nothing."""
        self._taken = self._last = self._source.stamp()
        try:
            settings = load(self._source.path, self._source.environment).settings
        except ConfigInvalid as error:
            self._refuse([str(problem) for problem in error.problems])
            return
        before = self.node.settings
        fixed = needs_restart(before, settings)
        if fixed:
            self._refuse([f"needs a restart: {', '.join(fixed)}"])
        elif settings == before:
            self.node.reload()
            self._accept()
        else:
            self._replace(before, settings)

    def _replace(self, before: Settings, settings: Settings) -> None:
        """Put a node with new settings in the place of the old one."""
        old = self.node
        try:
            new = old.renewed(settings)
        except CxrError as error:
            self._refuse([error.lines()])
            return
        if not old.pause():
            say(_LOG, "config.waits", level=logging.WARNING, reason="a step goes on by itself")
        self._source.on_loaded(settings)
        try:
            new.warm_up()
            new.start(resumes=True)
        except CxrError as error:
            new.pause()
            new.make_way()
            self._source.on_loaded(before)
            self.node = old.renewed(before)
            self.node.warm_up()
            self.node.start(resumes=True)
            old.make_way()
            self._refuse([error.lines()])
            return
        old.make_way()
        new.release_places()
        self.node = new
        self._accept(changed(before, settings))

    def _accept(self, keys: tuple[str, ...] = ()) -> None:
        state = self.node.configuration_state()
        now = self._clock.now()
        self.node.note_configuration(replace(state, loaded_at=now, problems=(), refused_at=None))
        say(_LOG, "config.loaded", changed=", ".join(keys) or None)

    def _refuse(self, problems: list[str]) -> None:
        """Say what is wrong with the file, a line each; the settings in force stay."""
        state = self.node.configuration_state()
        now = self._clock.now()
        self.node.note_configuration(replace(state, problems=tuple(problems), refused_at=now))
        for problem in problems:
            hint = "the configuration before it stays in force"
            say(_LOG, "config.refused", level=logging.ERROR, reason=problem, hint=hint)
