import csv
import gzip
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training import catalog
from training.cli import main
from training.distractors import gradient
from training.errors import CatalogError
from training.sources import mimic_report

METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition",
    "Rows", "Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
CHEXPERT = (
    "subject_id", "study_id", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema",
    "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion", "Lung Opacity", "No Finding",
    "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  Cough and fever. Known to ___.

 COMPARISON:  ___.

 FINDINGS:

 The heart is normal in size.  There is a small left pleural
 effusion.  Compared to ___, the lungs are clearer.

 IMPRESSION:

 Small left pleural effusion.
"""
TWICE = REPORT + "\n IMPRESSION:\n\n No acute disease.\n"
UNTITLED = "                                 FINAL REPORT\n Normal chest.\n"


def films(subjects=28):
    """Return the metadata rows of a miniature: a frontal and a lateral film a study."""
    rows = []
    for subject in range(10_000_032, 10_000_032 + subjects):
        for number, view in enumerate(("PA", "LL")):
            rows.append(
                {
                    "dicom_id": f"{subject:x}-{number}", "subject_id": subject,
                    "study_id": subject + 40_000_000, "ViewPosition": view, "Rows": 3056,
                    "Columns": 2544, "StudyDate": 21800506, "StudyTime": 213014.531,
                    "ViewCodeSequence_CodeMeaning": ("postero-anterior", "lateral")[number],
                }
            )  # fmt: skip
    return rows


def write_table(path, columns, rows):
    with gzip.open(path, "wt", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, columns, restval="")
        table.writeheader()
        table.writerows(rows)


def study_dir(root, row):
    subject = str(row["subject_id"])
    return root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{row['study_id']}"


def split_of(row):
    return {0: "validate", 1: "test"}.get(int(row["subject_id"]) % 7, "train")


def write(root, rows, reports=None):
    """Write the published layout: three tables, a tree of films, reports beside their studies."""
    rng = np.random.default_rng(0)
    for row in rows:
        folder = study_dir(root, row)
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(gradient(rng, np.zeros((256, 256), np.uint8)))
        picture.save(folder / f"{row['dicom_id']}.jpg")
        text = (reports or {}).get(row["study_id"], REPORT)
        if text:
            folder.with_suffix(".txt").write_text(text)
    write_table(root / "mimic-cxr-2.0.0-metadata.csv.gz", METADATA, rows)
    splits = [{k: row[k] for k in ("dicom_id", "study_id", "subject_id")} for row in rows]
    splits = [row | {"split": split_of(row)} for row in splits]
    columns = ("dicom_id", "study_id", "subject_id", "split")
    write_table(root / "mimic-cxr-2.0.0-split.csv.gz", columns, splits)
    stated = {(row["subject_id"], row["study_id"]) for row in rows}
    labels = [
        {"subject_id": subject, "study_id": study, "Edema": "1.0", "Pneumonia": "-1.0"}
        for subject, study in sorted(stated)
    ]
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", CHEXPERT, labels)
    return root


def test_the_published_layout_is_recognised_and_read(tmp_path):
    made = catalog.build(write(tmp_path, films()))
    first = made.films[0]
    assert made.dropped == {}
    assert len(made.films) == 56
    assert first.path.endswith("files/p10/p10000032/s50000032/9896a0-0.jpg")
    assert (first.view, first.projection) == ("frontal", "PA")
    assert (made.films[1].view, made.films[1].projection) == ("lateral", "LL")
    assert (first.orig_height, first.orig_width) == (3056, 2544)
    assert first.findings == (
        "The heart is normal in size. There is a small left pleural effusion."
    )
    assert first.impression == "Small left pleural effusion."
    assert first.indication == "Cough and fever."
    assert "___" not in first.findings + first.indication
    assert first.labels[10] == 1.0


def test_a_study_knows_the_one_before_it(tmp_path):
    rows = films(14)
    for number, row in enumerate(rows):
        if number >= 4:
            row["study_id"] += 100_000
    second = [
        row
        | {"study_id": row["study_id"] + 1, "dicom_id": row["dicom_id"] + "b", "StudyDate": date}
        for row, date in zip(rows[:4], (21800507, 21800507, 21800101, 21800101), strict=True)
    ]
    made = catalog.build(write(tmp_path, [*rows, *second]))
    before = {film.study_id: (film.previous_study_id, film.earliest) for film in made.films}
    assert before["mimic_50000032"] == ("", True)
    assert before["mimic_50000033"] == ("mimic_50000034", False)  # its films are of an earlier day
    assert before["mimic_50000034"] == ("", True)


def test_the_official_split_is_kept(tmp_path):
    made = catalog.build(write(tmp_path, films()))
    expected = {"train": "train", "validate": "val", "test": "test"}
    for film in made.films:
        subject = film.patient_id.removeprefix("mimic_")
        assert film.split == expected[split_of({"subject_id": subject})]
    assert {film.split for film in made.films} == {"train", "val", "test"}


def test_the_earliest_study_of_a_subject_is_marked_by_date_then_time(tmp_path):
    rows = films(3)
    late, early = (
        {**rows[0], "dicom_id": name, "study_id": study, "StudyTime": time}
        for name, study, time in (("late", 59_000_001, 220000.5), ("early", 50_000_001, 93000.0))
    )
    made = catalog.build(write(tmp_path, [late, *rows, early]))
    marks = {film.image_id: film.earliest for film in made.films if film.patient_id.endswith("32")}
    assert marks == {"late": False, "early": True, rows[0]["dicom_id"]: False,
                     rows[1]["dicom_id"]: False}  # fmt: skip


def test_a_film_without_a_report_has_the_stated_labels(tmp_path):
    rows = films(2)
    made = catalog.build(write(tmp_path, rows, {rows[0]["study_id"]: ""}))
    bare = made.films[0]
    assert not bare.has_report
    assert (bare.labels[5], bare.labels[7], bare.labels[0], bare.labels[1]) == (
        1.0,
        -1.0,
        0.0,
        None,
    )
    assert made.films[2].has_report


def test_every_row_that_cannot_be_used_is_counted_under_its_reason(tmp_path):
    rows = films(40)
    rows[0]["ViewPosition"] = "SWIMMERS"
    root = write(tmp_path, rows, {rows[2]["study_id"]: TWICE})
    (study_dir(root, rows[1]) / f"{rows[1]['dicom_id']}.jpg").unlink()
    made = catalog.build(root)
    assert made.dropped == {
        "no view": 1, "report states its impression twice": 2, "file missing": 1,
    }  # fmt: skip


def test_a_blank_view_is_taken_from_its_code(tmp_path):
    rows = films(2)
    rows[0]["ViewPosition"] = ""
    film = catalog.build(write(tmp_path, rows)).films[0]
    assert (film.view, film.projection) == ("frontal", "PA")


def test_a_missing_table_is_named(tmp_path):
    root = write(tmp_path, films(2))
    (root / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    with pytest.raises(CatalogError, match=r"split\.csv\.gz"):
        catalog.build(root)
    shutil.rmtree(root / "files")
    (root / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    with pytest.raises(CatalogError, match="no films under") as caught:
        catalog.build(root)
    assert "manifest.jsonl or mimic-cxr-" in caught.value.hint


def test_sections_stand_under_their_own_headings():
    found = mimic_report.split(REPORT)
    assert set(found) == {"indication", "findings", "impression"}
    assert found["impression"] == ["Small left pleural effusion."]
    assert mimic_report.fault(found) is None
    assert mimic_report.fault(mimic_report.split(TWICE)) == "report states its impression twice"
    assert mimic_report.split(UNTITLED) == {}
    assert mimic_report.split("FINDINGS AND IMPRESSION: Clear.") == {"findings": ["Clear."]}


@given(st.lists(st.sampled_from(["FINDINGS", "IMPRESSION", "TECHNIQUE", "WET READ"]), max_size=6))
def test_every_heading_keeps_its_own_text(names):
    text = "".join(f" {name}:  Text {n} of it.\n" for n, name in enumerate(names))
    found = mimic_report.split(text)
    for section, heading in (("findings", "FINDINGS"), ("impression", "IMPRESSION")):
        places = [n for n, name in enumerate(names) if name == heading]
        assert found.get(section, []) == [f"Text {n} of it." for n in places]
    assert (mimic_report.fault(found) is None) == (
        max(names.count("FINDINGS"), names.count("IMPRESSION")) < 2
    )


def test_the_command_builds_a_catalog_of_the_published_layout(tmp_path, capsys):
    root = write(tmp_path / "mimic", films(4))
    assert main(["catalog", "--run", str(tmp_path / "run"), "--films", str(root)]) == 0
    assert catalog.read(tmp_path / "run" / "catalog.parquet").films[0].source == "MIMIC-CXR-JPG"
    assert np.load(tmp_path / "run" / "images.npy").shape == (8, 256, 256)
