"""Record what real senders say, for the fuzzer to spoil: `python -m tests.node.record_corpus`.

A node stands behind a relay that keeps the bytes of each association. Objects are
phantoms; nothing of the shared folder is in the recordings.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE

from node.app import Node
from node.sop_classes import VERIFICATION
from tests.acceptance.peers import free_port, tool
from tests.fakes import FakeEngine
from tests.films import CR, phantom
from tests.node.conftest import settings_for

CORPUS = Path(__file__).parent / "corpus"


class Relay:
    """Passes one connection on, and keeps what the caller says."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.said = bytearray()
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        caller, _ = self._listener.accept()
        with caller, socket.create_connection(("127.0.0.1", self._behind)) as behind:
            back = threading.Thread(target=self._copy, args=(behind, caller, bytearray()))
            back.start()
            self._copy(caller, behind, self.said)
            back.join()
        self._listener.close()

    def _copy(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        while piece := source.recv(65_536):
            kept += piece
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)

    def wait(self) -> bytes:
        self._thread.join(10)
        return bytes(self.said)


def _pynetdicom(port: int) -> None:
    """Echo, then store in three encodings."""
    ae = AE("PACS")
    ae.add_requested_context(VERIFICATION)
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless):
        ae.add_requested_context(CR, syntax)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRDRAFT")
    assoc.send_c_echo()
    implicit, compressed = phantom("a", size=16), phantom("b", size=16)
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    implicit._read_implicit, implicit._read_little = True, True
    compressed.file_meta.TransferSyntaxUID = RLELossless
    compressed.PixelData = encapsulate([b"\1" * 40])
    for ds in (implicit, compressed):
        assoc.send_c_store(ds)
    assoc.release()


def _dcmtk(name: str, folder: Path) -> Callable[[int], None]:
    path = folder / "film.dcm"
    phantom("c", size=24).save_as(path, enforce_file_format=True)
    files = [path] if name == "storescu" else []

    def call(port: int) -> None:
        tool(name, "-aet", "PACS", "-aec", "CXRDRAFT", "127.0.0.1", str(port), *files)

    return call


def main() -> None:
    """Record every sender once."""
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        node = Node(settings_for(Path(folder) / "root", free_port()), FakeEngine())
        node.start()
        senders: dict[str, Callable[[int], None]] = {
            "pynetdicom": _pynetdicom,
            "echoscu": _dcmtk("echoscu", Path(folder)),
            "storescu": _dcmtk("storescu", Path(folder)),
        }
        for name, call in senders.items():
            relay = Relay(node.settings.node.port)
            call(relay.port)
            (CORPUS / f"{name}.bin").write_bytes(relay.wait())
        node.stop()


if __name__ == "__main__":
    main()
