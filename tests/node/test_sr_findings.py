"""The findings SR: fourteen findings in literal codes, none of them a trap, none left out."""

from __future__ import annotations

import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from engine.assessment import Bands, assess
from engine.findings import FINDINGS
from node.config_outputs import FindingsSettings
from node.finding_codes import FINDING_CODES, REGIONS, finding_code
from node.sr_document import BANNER, Basis
from node.sr_findings import build_findings_sr
from node.sr_review import EDITED
from tests.films import phantom
from tests.node.outputs_made import PROVENANCE, assessments, encoded, findings_sr, identity

LITERAL = {
    "No Finding": ("17621005", "SCT"),
    "Enlarged Cardiomediastinum": ("260376009", "SCT"),
    "Cardiomegaly": ("8186001", "SCT"),
    "Lung Lesion": ("309529002", "SCT"),
    "Lung Opacity": ("112001", "DCM"),
    "Edema": ("19242006", "SCT"),
    "Consolidation": ("95436008", "SCT"),
    "Pneumonia": ("233604007", "SCT"),
    "Atelectasis": ("46621007", "SCT"),
    "Pneumothorax": ("36118008", "SCT"),
    "Pleural Effusion": ("60046008", "SCT"),
    "Pleural Other": ("263654008", "SCT"),
    "Fracture": ("125605004", "SCT"),
    "Support Devices": ("49062001", "SCT"),
}
TRAPS = {
    "287272002": "enlarged septal foramen, called cardiomegaly in CID 12248",
    "111286": "no abnormality, of mammography",
    "267038008": "oedema of any part",
    "111047": "probability of cancer",
    "32381004": "portal, called hilar in CID 2",
    "126000": "a measurement report is no finding",
}


def groups(ds: Dataset) -> list[Dataset]:
    root = next(item for item in ds.ContentSequence if name(item) == "126010")
    return [item for item in root.ContentSequence if name(item) == "125007"]


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def values(group: Dataset, concept: str) -> list[Dataset]:
    return [item for item in group.ContentSequence if name(item) == concept]


def coded(item: Dataset) -> tuple[str, str]:
    code = item.ConceptCodeSequence[0]
    return str(code.CodeValue), str(code.CodingSchemeDesignator)


def group_of(ds: Dataset, finding: str) -> Dataset:
    return next(g for g in groups(ds) if values(g, "112039")[0].TextValue == finding)


def test_the_code_table_is_the_one_that_was_checked_by_hand():
    written = {name: row.finding[:2] for name, row in FINDING_CODES.items()}
    assert written == LITERAL
    assert tuple(FINDING_CODES) == FINDINGS


@pytest.mark.parametrize("trap", TRAPS)
def test_no_trap_is_in_any_findings_report(trap):
    assert not any(trap in {code for code, _ in codes_of(g)} for g in groups(findings_sr()))
    assert trap not in {code.value for code in REGIONS.values()}


def codes_of(item: Dataset) -> set[tuple[str, str]]:
    own = {
        (str(code.CodeValue), str(code.CodingSchemeDesignator))
        for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence")
        for code in item.get(keyword) or ()
    }
    return own.union(*(codes_of(child) for child in item.get("ContentSequence") or ()))


def test_all_fourteen_findings_stand_in_order_each_with_its_presence():
    found = groups(findings_sr())
    assert [values(g, "112039")[0].TextValue for g in found] == list(FINDINGS)
    assert all(len(values(g, "705057003")) == 1 for g in found)


@pytest.mark.parametrize(
    ("finding", "presence", "percent"),
    [
        ("Cardiomegaly", "52101004", 91.0),
        ("Pneumothorax", "272519000", 2.0),
        ("Edema", "373068000", 30.0),
        ("Pleural Other", "373068000", None),
    ],
)
def test_presence_and_certainty_are_the_classifiers(finding, presence, percent):
    group = group_of(findings_sr(), finding)
    assert coded(values(group, "705057003")[0]) == (presence, "SCT")
    stated = [float(item.MeasuredValueSequence[0].NumericValue) for item in values(group, "111012")]
    assert stated == ([] if percent is None else [percent])


def sites(finding: str, chance: float, text: str) -> list[Dataset]:
    chances = dict.fromkeys(FINDINGS, 0.3) | {finding: chance}
    found = assess(chances, set(FINDINGS), text, Bands())
    return values(group_of(findings_sr(assessments=found, text=text), finding), "363698007")


def test_what_is_absent_is_absent_on_both_sides():
    (site,) = sites("Pleural Effusion", 0.03, "Small left basilar pleural effusion.")
    assert "ContentSequence" not in site


def test_a_heart_has_no_side():
    (site,) = sites("Cardiomegaly", 0.9, "Cardiomegaly with left ventricular prominence, left.")
    (plain,) = sites("Cardiomegaly", 0.9, "Left heart enlargement.")
    assert "ContentSequence" not in site
    assert "ContentSequence" not in plain


def test_a_report_on_an_edited_text_does_not_say_that_software_wrote_it():
    source = phantom()
    made = build_findings_sr(
        Basis(source, [source], PROVENANCE),
        assessments(),
        "",
        identity(),
        FindingsSettings(),
        is_edited=True,
    )
    told = [item.TextValue for item in values(group_of(made, "No Finding"), "121106")]
    assert EDITED in told
    assert BANNER not in str(made)


def test_side_and_region_of_the_text_become_the_site():
    (site,) = sites("Pleural Effusion", 0.9, "Small left basilar pleural effusion.")
    assert coded(site) == ("3120008", "SCT")
    assert {coded(item) for item in site.ContentSequence} == {
        ("7771000", "SCT"),
        ("57195005", "SCT"),
    }


def test_a_contradiction_is_told_beside_the_codes():
    comments = [
        item.TextValue for item in values(group_of(findings_sr(), "Cardiomegaly"), "121106")
    ]
    assert any(text.startswith("Disagreement on cardiomegaly") for text in comments)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Pacemaker in place.", "14106009"),
        ("Endotracheal tube tip above the carina.", "26412008"),
        ("Right PICC.", "112174"),
        ("Pacemaker and right chest tube.", "49062001"),
        ("No acute disease.", "49062001"),
        ("No pacemaker.", "49062001"),
        ("The endotracheal tube has been removed. Right PICC.", "112174"),
    ],
)
def test_a_device_is_named_when_the_text_names_just_one(text, code):
    assert finding_code("Support Devices", text).value == code


def test_the_algorithm_is_identified_so_that_it_can_be_found_again():
    group = groups(findings_sr())[0]
    assert values(group, "111001")[0].TextValue == "LLM-CXR demo"
    assert coded(values(group, "111000")[0]) == ("123110", "DCM")
    parameters = " ".join(item.TextValue for item in values(group, "111002"))
    assert all(part in parameters for part in ("ab" * 32, "prompt version 1", "seed none, greedy"))


def test_each_finding_points_at_the_film_and_keeps_its_tracking_uid_over_generations():
    source = phantom()
    first, second = (findings_sr(source, identity=identity(generation=n)) for n in (1, 2))
    for before, after in zip(groups(first), groups(second), strict=True):
        assert values(before, "112040")[0].UID == values(after, "112040")[0].UID
        image = next(item for item in before.ContentSequence if item.ValueType == "IMAGE")
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.parametrize(
    ("profile", "sop_class"),
    [("comprehensive", ComprehensiveSRStorage), ("air", Comprehensive3DSRStorage)],
)
def test_the_profile_is_the_class_and_another_reader_reads_it(tmp_path, profile, sop_class):
    ds = findings_sr(settings=FindingsSettings(profile=profile))
    assert ds.SOPClassUID == sop_class
    path = tmp_path / "findings.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert len(srread(path).content.get_image_measurement_groups()) == len(FINDINGS)


def test_the_flags_say_draft_and_the_bytes_repeat():
    ds = findings_sr()
    assert (ds.VerificationFlag, ds.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "UNVERIFIED" in ds.SeriesDescription
    assert encoded(ds) == encoded(findings_sr())
