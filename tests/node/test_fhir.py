"""The draft as a FHIR transaction: valid, never verified, made once however often it is sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.carrier import Parcel
from node.config_outputs import FhirSettings
from node.errors import PeerError
from node.fhir import build_bundle
from node.fhir_carrier import ISSUE_CODES, FhirCarrier, issue_codes, read_reply
from node.made import Made
from node.records import Delivery, DeliveryStatus
from node.sr_document import BANNER
from node.sr_review import EDITED
from tests.films import phantom
from tests.node.outputs_made import draft, identity, told
from tests.receivers import BUNDLES, Fhir, free_port, running

VERSIONS = ("R4", "R5")
PARKED, PENDING, SENT = DeliveryStatus.PARKED, DeliveryStatus.PENDING, DeliveryStatus.SENT


def made(version: str = "R4", generation: int = 1, **changes: Any) -> Made:
    source = phantom("fhir", SpecificCharacterSet="ISO_IR 192", **changes)
    own = identity(study_instance_uid=str(source.StudyInstanceUID), generation=generation)
    settings = FhirSettings(url="http://h", version=version, patient_id_system="urn:oid:1.2.3")
    return build_bundle(*told(source, identity=own), settings, "18748-4")


def resources(bundle: Made) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(bundle.content)["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_models_of_the_standard_take_it(version: str) -> None:
    bundle = made(version, AccessionNumber="A1", StudyDate="20260102", StudyTime="101112")
    parsed = BUNDLES[version].model_validate_json(bundle.content)
    assert len(parsed.entry) == 6


@pytest.mark.parametrize("version", VERSIONS)
@given(text=st.text(min_size=1, max_size=80), name=st.text(max_size=16))
def test_any_sentence_makes_a_valid_bundle_that_nobody_verified(
    version: str, text: str, name: str
) -> None:
    source = phantom("any", SpecificCharacterSet="ISO_IR 192")
    source.AccessionNumber = "".join(c for c in name if c.isprintable() and c != "\\")
    settings = FhirSettings(url="http://h", version=version)
    bundle = build_bundle(*told(source, draft=draft(findings=(text,))), settings, "18748-4")
    BUNDLES[version].model_validate_json(bundle.content)
    found = resources(bundle)
    assert [one["status"] for one in found["DiagnosticReport"]] == ["partial"]
    assert {one["status"] for one in found["Observation"]} == {"preliminary"}
    assert "performer" not in found["DiagnosticReport"][0]
    assert "resultsInterpreter" not in found["DiagnosticReport"][0]


def test_the_report_says_what_it_is_wherever_it_is_read() -> None:
    (report,) = resources(made())["DiagnosticReport"]
    assert report["conclusion"] == f"{BANNER} No acute disease."
    assert BANNER in report["text"]["div"]
    (form,) = report["presentedForm"]
    text = base64.b64decode(form["data"]).decode()
    assert text.startswith(BANNER)
    assert "sha256 abab" in text
    assert report["meta"]["security"][0]["code"] == "AIAST"


def test_a_report_that_a_person_edited_does_not_say_that_software_wrote_it() -> None:
    source = phantom("fhir", SpecificCharacterSet="ISO_IR 192")
    settings = FhirSettings(url="http://h")
    bundle = build_bundle(*told(source, addendum=(EDITED,)), settings, "18748-4")
    (report,) = resources(bundle)["DiagnosticReport"]
    assert report["conclusion"].startswith(EDITED)
    assert report["status"] == "partial"
    assert BANNER not in bundle.content.decode()
    assert BANNER.encode() not in base64.b64decode(report["presentedForm"][0]["data"])


def test_patient_and_order_are_meant_by_their_identifiers() -> None:
    found = resources(made(AccessionNumber="A1"))
    (report,) = found["DiagnosticReport"]
    assert report["subject"]["identifier"]["system"] == "urn:oid:1.2.3"
    assert report["basedOn"][0]["identifier"]["value"] == "A1"
    assert "Patient" not in found


def test_the_study_has_a_time_only_with_its_zone() -> None:
    changes = {"StudyDate": "20260102", "StudyTime": "101112"}
    (without,) = resources(made(**changes))["ImagingStudy"]
    (with_zone,) = resources(made(**changes, TimezoneOffsetFromUTC="+0100"))["ImagingStudy"]
    assert without["started"] == "2026-01-02"
    assert with_zone["started"] == "2026-01-02T10:11:12+01:00"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("date", "time", "zone", "started"),
    [
        ("20260231", "101112", "+0100", None),
        ("20260201", "235960", "+0100", "2026-02-01"),
        ("20260201", "101112", "+9999", "2026-02-01"),
        ("20260201", "1011", "+0100", "2026-02-01"),
    ],
)
def test_a_date_that_is_none_does_not_cost_the_draft(
    version: str, date: str, time: str, zone: str, started: str | None
) -> None:
    values = {"StudyDate": date, "StudyTime": time, "TimezoneOffsetFromUTC": zone}
    bundle = made(version, **values)
    BUNDLES[version].model_validate_json(bundle.content)
    (study,) = resources(bundle)["ImagingStudy"]
    assert study.get("started") == started


@pytest.mark.parametrize("version", VERSIONS)
def test_a_patient_without_a_number_is_nobody_elses(version: str) -> None:
    bundle = made(version, PatientID="")
    BUNDLES[version].model_validate_json(bundle.content)
    assert all("identifier" not in one["subject"] for one in resources(bundle)["Observation"])
    issued = resources(made(version, IssuerOfPatientID="Clinic B"))["DiagnosticReport"][0]
    assert issued["subject"]["identifier"]["assigner"] == {"display": "Clinic B"}


def test_a_draft_that_says_nothing_has_no_empty_list() -> None:
    source = phantom("fhir")
    bundle = build_bundle(
        *told(source, draft=draft((), ())), FhirSettings(url="http://h"), "18748-4"
    )
    assert b"[]" not in bundle.content


def test_every_reference_leads_to_an_entry() -> None:
    text = made().content.decode()
    entries = json.loads(text)["entry"]
    names = {entry["fullUrl"] for entry in entries}
    assert len(names) == len(entries)
    referred = {one.split('"')[0] for one in text.split('"reference":"')[1:]}
    assert referred <= names


def test_a_retry_is_the_same_bytes_and_a_successor_another_report() -> None:
    assert made().content == made().content
    first, later = resources(made()), resources(made(generation=2))
    assert first["DiagnosticReport"][0]["identifier"] != later["DiagnosticReport"][0]["identifier"]
    assert first["ImagingStudy"] == later["ImagingStudy"]


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Fhir]:
    fhir = Fhir(request.param)
    with running(fhir.server):
        yield fhir


def _carrier(server: Fhir, **changes: Any) -> FhirCarrier:
    return FhirCarrier(FhirSettings(url=server.url, version=server.version, **changes))


def _parcel(server: Fhir) -> Parcel:
    one = made(server.version)
    return Parcel(Delivery(one.uid, "", "1", 1, "fhir", "fhir", "p", 0, 1e6, ""), one.content, None)


def test_a_transaction_is_taken_whole(server: Fhir) -> None:
    (reply,) = _carrier(server).carry([_parcel(server)])
    assert reply.status is SENT
    assert len(server.of_type("DiagnosticReport")) == 1
    assert len(server.of_type("Observation")) == 3


def test_an_answer_that_was_lost_makes_nothing_twice(server: Fhir) -> None:
    server.lost_answers = 1
    replies = [next(_carrier(server).carry([_parcel(server)])) for _ in range(2)]
    assert [reply.status for reply in replies] == [PENDING, SENT]
    assert server.num_transactions == 2
    assert len(server.resources) == 6


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, PARKED), (412, PARKED), (422, PARKED), (401, PENDING), (429, PENDING), (503, PENDING)],
)
def test_each_refusal_has_its_consequence_and_quotes_nobody(
    server: Fhir, status: int, expected: DeliveryStatus
) -> None:
    issue = {"severity": "error", "code": "invalid", "diagnostics": "patient Doe^Jane"}
    server.refusals = [(status, {"resourceType": "OperationOutcome", "issue": [issue]})]
    (reply,) = _carrier(server).carry([_parcel(server)])
    assert reply.status is expected
    assert reply.reason == f"HTTP {status} invalid"


@given(
    st.recursive(
        st.text(max_size=20),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["issue", "code", "entry", "response", "status", "type"]), inner
            )
        ),
    )
)
def test_whatever_is_answered_only_codes_are_kept(body: Any) -> None:
    kept = body if isinstance(body, dict) else {"issue": body, "entry": body}
    assert set(issue_codes(kept)) <= ISSUE_CODES
    assert read_reply(422, kept).status is PARKED
    if kept.get("type") != "transaction-response":
        assert read_reply(200, kept).status is PENDING


@pytest.mark.parametrize("issue", [5, True, {"a": 1}, "x"])
def test_an_outcome_that_is_none_breaks_nothing(issue: Any) -> None:
    assert issue_codes({"issue": issue}) == []


def test_a_success_in_which_an_entry_failed_is_none() -> None:
    entries = [{"response": {"status": "201 Created"}}, {"response": {"status": "404"}}]
    body = {"type": "transaction-response", "entry": entries}
    assert read_reply(200, body).status is PARKED
    assert read_reply(200, {**body, "entry": entries[:1]}).status is SENT


def test_a_probe_asks_for_the_version(server: Fhir) -> None:
    assert _carrier(server).probe().endswith(f"speaks {server.version}")
    other = FhirSettings(url=server.url, version="R5" if server.version == "R4" else "R4")
    with pytest.raises(PeerError, match="does not say that it speaks"):
        FhirCarrier(other).probe()


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/fhir"
    with pytest.raises(PeerError, match=f"cannot connect to {url}"):
        list(FhirCarrier(FhirSettings(url=url)).carry([_parcel(Fhir("R4"))]))
