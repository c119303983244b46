"""Receivers of the channels: servers that check what comes, keep it, and answer as told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from io import BytesIO
from pathlib import Path
from typing import Any

import uvicorn
from fhir.resources.bundle import Bundle
from fhir.resources.R4B.bundle import Bundle as BundleR4
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message
from pydicom import dcmread
from pydicom.dataset import Dataset
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.pki import Issued

BUNDLES = {"R4": BundleR4, "R5": Bundle}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class HttpServer:
    """A starlette application that can go away and come back on the same port."""

    def __init__(self, app: Starlette, issued: Issued | None = None) -> None:
        self.port = free_port()
        self._app = app
        self._issued = issued
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        files = {}
        if self._issued is not None:
            files = {
                "ssl_certfile": str(self._issued.certificate),
                "ssl_keyfile": str(self._issued.key),
            }
        config = uvicorn.Config(
            self._app, host="127.0.0.1", port=self.port, log_level="critical", **files
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)
            self._server = None


class Fhir:
    """A FHIR server: validates every resource by its model, and honours conditional creates."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.resources: dict[str, dict[str, Any]] = {}
        self.num_transactions = 0
        self.refusals: list[tuple[int, dict[str, Any]]] = []
        self.lost_answers = 0
        routes = [
            Route("/fhir", self._transaction, methods=["POST"]),
            Route("/fhir/metadata", self._metadata),
        ]
        self.server = HttpServer(Starlette(routes=routes))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/fhir"

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.resources.values() if one["resourceType"] == name]

    async def _metadata(self, _request: Request) -> Response:
        version = {"R4": "4.0.1", "R5": "5.0.0"}[self.version]
        return JSONResponse({"resourceType": "CapabilityStatement", "fhirVersion": version})

    async def _transaction(self, request: Request) -> Response:
        assert request.headers["content-type"].startswith("application/fhir+json")
        bundle = json.loads(await request.body())
        BUNDLES[self.version].model_validate(bundle)
        self.num_transactions += 1
        if self.refusals:
            status, outcome = self.refusals.pop(0)
            return JSONResponse(outcome, status)
        answers = [self._create(entry) for entry in bundle["entry"]]
        if self.lost_answers:
            self.lost_answers -= 1
            return Response(status_code=504)
        return JSONResponse(
            {
                "resourceType": "Bundle",
                "type": "transaction-response",
                "entry": [{"response": {"status": status}} for status in answers],
            }
        )

    def _create(self, entry: dict[str, Any]) -> str:
        identifier = entry["request"]["ifNoneExist"].removeprefix("identifier=")
        resource = entry["resource"]
        own = [f"{one['system']}|{one['value']}" for one in resource["identifier"]]
        assert identifier in own, "a conditional create must find what it creates"
        name = f"{resource['resourceType']}?{identifier}"
        is_new = name not in self.resources
        self.resources.setdefault(name, resource)
        return "201 Created" if is_new else "200 OK"


class Stow:
    """A DICOMweb server that keeps what is stored, and can refuse or lose a part of it."""

    def __init__(self, issued: Issued | None = None) -> None:
        self.stored: list[Dataset] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[Callable[[str], tuple[int, Any]]] = []
        routes = [
            Route("/dicom-web/studies", self._store, methods=["POST"]),
            Route("/dicom-web/studies", self._search),
        ]
        self.server = HttpServer(Starlette(routes=routes), issued)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/dicom-web"

    async def _search(self, _request: Request) -> Response:
        return JSONResponse([])

    async def _store(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        ds = part_of(request.headers["content-type"], await request.body())
        if self.answers:
            status, body = self.answers.pop(0)(str(ds.SOPInstanceUID))
            return JSONResponse(body, status)
        self.stored.append(ds)
        return JSONResponse(stored_answer(str(ds.SOPInstanceUID)))


def part_of(content_type: str, body: bytes) -> Dataset:
    """Return the only object in a multipart body, taken apart by the standard library."""
    whole = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    (part,) = whole.get_payload()
    assert isinstance(part, type(whole))
    assert part.get_content_type() == "application/dicom"
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return dcmread(BytesIO(content))


def stored_answer(uid: str) -> dict[str, Any]:
    return {"00081199": {"vr": "SQ", "Value": [_named(uid)]}}


def failed_answer(uid: str, reason: int) -> dict[str, Any]:
    item = {**_named(uid), "00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def _named(uid: str) -> dict[str, Any]:
    return {"00081155": {"vr": "UI", "Value": [uid]}}


class Mllp:
    """An HL7 receiver: hl7apy reads and validates every message before it answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[str] = []
        self.codes: list[str] = []
        self._server: MLLPServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        receiver = self

        class _OnOru(AbstractHandler):  # type: ignore[misc]
            def reply(self) -> str:
                return receiver.answer(self.incoming_message)

        handlers = {"ORU^R01^ORU_R01": (_OnOru,)}
        MLLPServer.allow_reuse_address = True
        self._server = MLLPServer("127.0.0.1", self.port, handlers)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)
            self._server = None

    def answer(self, text: str) -> str:
        message = parse_message(text, find_groups=True)
        assert message.validate()
        code = self.codes.pop(0) if self.codes else "AA"
        if code == "AA":
            self.received.append(text)
        control = message.msh.msh_10.to_er7()
        head = "MSH|^~\\&|RIS||CXR-NODE||20261122||ACK^R01^ACK|1|P|2.5.1"
        return f"\x0b{head}\rMSA|{code}|{control}|Doe^Jane is unknown\r\x1c\r"


@contextmanager
def running(receiver: Any) -> Iterator[Any]:
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@contextmanager
def rude(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a listener that treats each connection badly."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    sock, _ = listener.accept()
                except TimeoutError:
                    continue
                with sock:
                    sock.settimeout(2)
                    behave(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join(10)


def secret(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.write_text(f"{text}\n")
    return path
