"""Asking a peer by C-FIND (PS3.4 annex C)."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dsutils import encode

from node.errors import PeerError

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND."""
_PENDING = (0xFF00, 0xFF01)
_MAX_ANSWERS = 1000


def patient_query(patient_id: str) -> bytes:
    """Return the query for a patient's studies as it goes out, in Implicit VR Little Endian."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientID = patient_id
    encoded = encode(query, is_implicit_vr=True, is_little_endian=True)
    return encoded or b""


def find(assoc: Association, query: Dataset) -> list[Dataset]:
    """Return what a peer finds.

    Raises
    ------
    PeerError
        It fails, falls silent, or answers without end.
    """
    found: list[Dataset] = []
    try:
        for status, identifier in assoc.send_c_find(query, UID(STUDY_ROOT_FIND)):
            if "Status" not in status:
                raise PeerError("no answer")
            if status.Status in _PENDING and identifier is not None:
                found.append(identifier)
            elif status.Status != 0:
                raise PeerError(f"the query failed: status 0x{status.Status:04X}")
            if len(found) > _MAX_ANSWERS:
                raise PeerError(f"the query has more than {_MAX_ANSWERS} answers")
    except (RuntimeError, ValueError) as error:
        raise PeerError("the association was lost") from error
    return found
