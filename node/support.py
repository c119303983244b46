"""What somebody who helps a site from afar needs to see of its node, in one file without a patient.

Nothing in it was received: settings, versions, checks, counts, reasons and the node's own log.
Studies appear by their keys, hosts by stand-ins, titles of strangers by their keys.
"""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import sqlite3
import ssl
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import distributions, version
from pathlib import PurePath
from typing import Any, BinaryIO, Final

from sqlalchemy.engine import Engine

from engine.backends.select import survey
from engine.bundle import open_bundle
from engine.config import EngineSettings
from engine.errors import CxrError
from node.checks import run_checks
from node.config import Settings
from node.configuration_state import read_state
from node.ledger_revision import read_revision
from node.settings_view import Effective, effective, leaves
from node.standing_now import standing_of
from node.support_ledger import failed_deliveries, failed_studies, refusals, sizes
from node.support_mask import HIDDEN, Mask, hosts_in

NUM_LOG_LINES: Final = 5_000
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z (?:{_LEVELS}) [a-z][\w-]*\.[\w.-]+(?: .*)?$")
_JSON_LINE = re.compile(rf'\{{"at": "[^"]+Z", "level": "(?:{_LEVELS})", "event": .*\}}$')
_ABOUT: Final = """\
Support bundle of cxr-node. It holds no image, no report, no name, no identifier of a patient:
studies appear by the keys that the log uses. Hosts and addresses are replaced by stand-ins, the
same everywhere, unless they were asked for. Secrets and the places of their files are left out.
Have a look before you send it on: these are plain texts.
"""


@dataclass(frozen=True)
class Subject:
    """The node that is told about."""

    settings: Settings
    database: Engine | None
    """Its ledger, where there is one of our version."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where settings are written (`node.config_file.Loaded.origins`)."""


def write_support_bundle(
    stream: BinaryIO,
    subject: Subject,
    *,
    log: Iterable[str] = (),
    with_addresses: bool = False,
) -> tuple[str, ...]:
    """Write the bundle as a ZIP; return the names of what is in it.

    Parameters
    ----------
    stream
        Takes the bytes; it need not be seekable.
    log
        Lines of the node's log; lines that the node did not write are left out.
    with_addresses
        Name hosts and addresses.
    """
    mask = _mask(subject, with_addresses=with_addresses)
    contents = {"README.txt": _ABOUT}
    for name, look in _PARTS.items():
        contents[name] = _as_text(_looked(look, subject), mask)
    for name, look in _PLAIN_PARTS.items():
        contents[name] = _as_text(_looked(look, subject), None)
    lines = deque(_own_lines(log), NUM_LOG_LINES)
    if lines:
        contents["log.txt"] = "".join(f"{mask.text(line)}\n" for line in lines)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in contents.items():
            archive.writestr(name, text.encode())
    return tuple(contents)


Look = Callable[[Subject], Any]
"""Looks at one thing; the answer is JSON-ready."""


def _looked(look: Look, subject: Subject) -> Any:
    """Return what is to be seen, or why nothing is."""
    try:
        return look(subject)
    except CxrError as error:
        return {"error": str(error), "hint": error.hint}


def _as_text(value: Any, mask: Mask | None) -> str:
    shown = value if mask is None else mask.anything(value)
    return json.dumps(shown, indent=1, ensure_ascii=False, default=str) + "\n"


def _mask(subject: Subject, *, with_addresses: bool) -> Mask:
    hosts, places = [socket.gethostname()], list[str]()
    for path, value in leaves(subject.settings):
        if _is_secret(path) and isinstance(value, PurePath):
            places.append(str(value))
        elif path.rpartition(".")[2] in ("host", "bind"):
            hosts.append(str(value or ""))
        elif isinstance(value, str | tuple):
            values = (value,) if isinstance(value, str) else value
            hosts += [host for one in values for host in hosts_in(one)]
    return Mask(hosts, places, with_addresses=with_addresses)


def _is_secret(path: str) -> bool:
    """Tell whether a setting names a file that holds a secret."""
    name = path.rpartition(".")[2]
    return name == "key" or name.endswith("_file")


def _configuration(subject: Subject) -> dict[str, Any]:
    rows = effective(subject.settings, subject.origins)
    state = read_state(subject.settings.node.storage.root)
    return {
        "keys": [asdict(_shown(row)) for row in rows],
        "in_force": None if state is None else state.as_json(),
    }


def _shown(row: Effective) -> Effective:
    hides = _is_secret(row.key) and row.value is not None
    return Effective(row.key, HIDDEN, row.origin) if hides else row


def _checks(subject: Subject) -> list[dict[str, Any]]:
    return [asdict(one) for one in run_checks(subject.settings, _bundle_name)]


def _bundle_name(chosen: EngineSettings) -> str:
    bundle = open_bundle(chosen.bundle)
    return f"{bundle.name} {bundle.version} ({bundle.digest[:12]})"


def _ledger(subject: Subject) -> dict[str, Any]:
    found = {"revision": read_revision(subject.settings.node).text}
    if subject.database is None:
        return found
    return {
        **found,
        "rows": sizes(subject.database),
        **standing_of(subject.settings, subject.database),
    }


def _failures(subject: Subject) -> dict[str, Any]:
    if subject.database is None:
        return {}
    return {
        "studies": failed_studies(subject.database),
        "deliveries": failed_deliveries(subject.database),
    }


def _refusals(subject: Subject) -> list[dict[str, Any]]:
    if subject.database is None:
        return []
    titles = {peer.ae_title for peer in subject.settings.peers.values()}
    return refusals(subject.database, titles)


def _versions(subject: Subject) -> dict[str, Any]:
    engines = subject.settings.engine.each
    packages = sorted({(one.name.lower(), one.version) for one in distributions()})
    return {
        "cxr-node": version("cxr-node"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "bundles": [_looked(partial(_named, one), subject) for one in engines],
        "packages": dict(packages),
    }


def _named(chosen: EngineSettings, _subject: Subject) -> str:
    return _bundle_name(chosen)


def _backends(subject: Subject) -> list[dict[str, Any]]:
    return [asdict(one) for one in survey(open_bundle(subject.settings.engine.bundle))]


_PARTS: Final[dict[str, Look]] = {
    "configuration.json": _configuration,
    "checks.json": _checks,
    "ledger.json": _ledger,
    "failures.json": _failures,
    "refusals.json": _refusals,
}
_PLAIN_PARTS: Final[dict[str, Look]] = {
    # versions look like addresses, and no site is in them
    "versions.json": _versions,
    "backends.json": _backends,
}


def _own_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield what the node wrote, without what a journal puts before each line."""
    for line in lines:
        found = _LINE.search(line.rstrip("\n")) or _JSON_LINE.search(line.rstrip("\n"))
        if found:
            yield found[0]
