"""The draft as ORU^R01: what a parser reads back is what was drafted, and it is never verified."""

from __future__ import annotations

from typing import Any

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.config_outputs import Hl7Settings
from node.hl7 import build_oru, control_id, escape, escape_lines
from node.outputs import REPORT
from node.sr_document import BANNER
from node.sr_review import EDITED
from tests.films import phantom
from tests.node.outputs_made import draft, identity, told

_UNESCAPES = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", ".br": "\n"}
_TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def message(source: Dataset | None = None, **changes: Any) -> str:
    source = phantom() if source is None else source
    settings = changes.get("settings", Hl7Settings(host="h"))
    return build_oru(*told(source, **changes), settings, "18748-4").content.decode("utf-8")


def segments(text: str, name: str) -> list[list[str]]:
    """Return the segments of a name, split into fields; MSH-1 is the separator itself."""
    found = [line.split("|") for line in text.split("\r") if line.startswith(f"{name}|")]
    return [["MSH", "|", *fields[1:]] for fields in found] if name == "MSH" else found


def unescaped(text: str) -> str:
    """Read escapes as a receiver does."""
    parts = text.split("\\")
    assert len(parts) % 2, "an escape is not closed"
    return "".join(_UNESCAPES[part] if number % 2 else part for number, part in enumerate(parts))


@given(_TEXT)
def test_an_escaped_component_is_one_and_comes_back(text: str) -> None:
    written = escape(text)
    assert not set(written) & set("|^&~\r\n\x0b\x1c")
    assert (
        unescaped(written).split()
        == "".join(
            c if c.isprintable() or c.isspace() else " " if ord(c) < 0xA0 or c.isspace() else c
            for c in text
        ).split()
    )


@given(st.lists(_TEXT.map(lambda text: "".join(text.split())), min_size=1, max_size=4))
def test_lines_stay_lines(lines: list[str]) -> None:
    written = escape_lines("\n".join(lines))
    assert not set(written) & set("|^&~\r\n\x0b\x1c")
    assert written.count("\\.br\\") == len(lines) - 1


@given(
    finding=_TEXT,
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
    accession=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=16),
)
def test_whatever_is_drafted_the_status_is_r(finding: str, name: str, accession: str) -> None:
    source = phantom()
    source.SpecificCharacterSet = "ISO_IR 192"
    source.PatientName, source.AccessionNumber = name, accession.replace("\\", "")
    text = message(source, draft=draft(findings=(finding,)))
    (obr,) = segments(text, "OBR")
    assert obr[25] == "R"
    observations = segments(text, "OBX")
    assert [fields[11] for fields in observations] == ["R"] * len(observations)
    assert [fields[1] for fields in observations] == [
        str(number + 1) for number in range(len(observations))
    ]
    assert all(len(fields) == 12 for fields in observations)


def test_a_parser_that_validates_reads_it() -> None:
    source = phantom(PatientName="Doe^Jane^Q^Dr^Jr", AccessionNumber="A|1")
    parsed = parse_message(
        message(source), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True
    )
    assert parsed.validate()
    group = parsed.oru_r01_patient_result.oru_r01_order_observation
    assert group.obr.obr_25.to_er7() == "R"
    pid = parsed.oru_r01_patient_result.oru_r01_patient.pid
    assert pid.pid_5.to_er7() == "Doe^Jane^Q^Jr^Dr^^L^A"


def test_the_names_are_those_that_dcm4chee_reads() -> None:
    source = phantom()
    text = message(source)
    rows = {fields[3]: fields[5] for fields in segments(text, "OBX")}
    own = identity(study_instance_uid=str(source.StudyInstanceUID))
    assert rows["^SR Instance UID"] == own.sop_instance_uid(REPORT)
    assert rows["^Series Instance UID"] == own.series_instance_uid(REPORT)
    assert rows["^Study Instance UID"] == source.StudyInstanceUID
    texts = [fields[5] for fields in segments(text, "OBX") if fields[3] == "^SR Text"]
    assert texts[0] == BANNER
    assert texts[1].startswith(f"Findings: {BANNER}\\.br\\Heart size is normal.")
    assert texts[2].startswith(f"Conclusions: {BANNER}\\.br\\No acute disease.")


def test_a_message_that_a_person_edited_does_not_say_that_software_wrote_it() -> None:
    text = message(addendum=(EDITED,))
    assert escape_lines(EDITED) in text
    assert BANNER not in text
    assert [fields[11] for fields in segments(text, "OBX")] == ["R"] * text.count("\rOBX|")


def test_the_order_is_named() -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP^1"
    request.PlacerOrderNumberImagingServiceRequest = "PL1"
    source = phantom(AccessionNumber="ACC1", RequestAttributesSequence=[request])
    (obr,) = segments(message(source), "OBR")
    assert (obr[2], obr[3], obr[18], obr[19]) == ("PL1", "ACC1", "ACC1", "RP\\S\\1")
    assert obr[4] == "18748-4^Diagnostic Imaging Report^LN"


def test_names_keep_every_writing() -> None:
    source = phantom(SpecificCharacterSet="ISO_IR 192")
    source.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    (pid,) = segments(message(source), "PID")
    assert pid[5] == ("Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P")


def test_the_header_says_utf_8_and_who_sends() -> None:
    (msh,) = segments(message(settings=Hl7Settings(host="h", receiving_application="RIS&1")), "MSH")
    assert (msh[3], msh[4], msh[5]) == ("CXR-NODE", "General Hospital", "RIS\\T\\1")
    assert (msh[9], msh[12], msh[18]) == ("ORU^R01^ORU_R01", "2.5.1", "UNICODE UTF-8")


def test_a_retry_is_the_same_message_and_a_successor_another() -> None:
    source = phantom()
    own = {"study_instance_uid": str(source.StudyInstanceUID)}
    first, again = (message(source, identity=identity(**own)) for _ in range(2))
    later = message(source, identity=identity(**own, generation=2))
    assert first == again
    assert segments(first, "MSH")[0][10] != segments(later, "MSH")[0][10]


@given(st.text(max_size=70))
def test_a_control_id_fits_its_field(uid: str) -> None:
    assert len(control_id(uid)) == 20
    assert control_id(uid).isalnum()


@pytest.mark.parametrize("charset", ["ISO 2022 IR 87", "GB18030"])
def test_a_name_that_cannot_be_decoded_is_left_out_and_not_changed(charset: str) -> None:
    source = phantom(SpecificCharacterSet=charset)
    source.add_new("PatientName", "PN", b"\xff\xfe\x80broken")
    (pid,) = segments(message(source), "PID")
    assert pid[5] == "" or "?" not in pid[5]
