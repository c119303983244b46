"""Published collections, each as a miniature in its true layout; and CheXbench's own file."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from engine.findings import FINDINGS
from engine.tasks.values import Box, Place
from tests.training.reports import film
from training.catalog import Catalog
from training.errors import TaskTableError
from training.tasks import bench, make, mixtures, scorers
from training.tasks.sources import SOURCES
from training.tasks.sources.base import examples, percent
from training.tasks.sources.boxes import agreed, box_of, mask_of, place_of
from training.tasks.sources.labels import PADCHEST
from training.tasks.sources.questions import RESTRUCT_IMAGES, VQA_RAD


def write_csv(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def ms_cxr(root):
    row = {
        "category_name": "Pneumonia", "label_text": "opacity in the left base",
        "path": "files/p10/p10000032/s50414267/d1.jpg", "x": 100, "y": 200, "w": 100, "h": 50,
        "image_width": 1000, "image_height": 500, "dicom_id": "d1",
    }  # fmt: skip
    write_csv(root / "MS_CXR_Local_Alignment_v1.0.0.csv", row, {**row, "x": 700})


def ms_cxr_t(root):
    row = {
        "dicom_id": "d1", "previous_dicom_id": "d2", "study_id": "50414267",
        "subject_id": "10000032", "consolidation_progression": "stable",
        "edema_progression": "", "pleural_effusion_progression": "worsening",
        "pneumonia_progression": "", "pneumothorax_progression": "unknown",
    }  # fmt: skip
    write_csv(root / "MS_CXR_T_temporal_image_classification_v1.0.0.csv", row)


def vindr(root):
    row = {
        "image_id": "d1", "rad_id": "R1", "class_name": "Cardiomegaly", "x_min": 100,
        "y_min": 500, "x_max": 900, "y_max": 800,
    }  # fmt: skip
    alone = {**row, "class_name": "Nodule/Mass"}
    none = {**dict.fromkeys(row, ""), "image_id": "d2", "class_name": "No finding"}
    rows = (row, {**row, "rad_id": "R2"}, alone, none)
    write_csv(root / "annotations" / "annotations_train.csv", *rows)
    for name in ("d1", "d2"):
        head = Dataset()
        head.Rows = head.Columns = 1000
        path = root / "train" / f"{name}.dicom"
        path.parent.mkdir(exist_ok=True)
        head.SOPClassUID, head.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
        head.file_meta = FileMetaDataset()
        head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        head.save_as(path, enforce_file_format=True)


def siim(root):
    # ten pixels down the column 100, from row 20 on
    rows = ({"ImageId": "d1", " EncodedPixels": f" {100 * 1024 + 20} 10"},
            {"ImageId": "d2", " EncodedPixels": " -1"})  # fmt: skip
    write_csv(root / "train-rle.csv", *rows)


def rsna(root):
    box = {"patientId": "d1", "x": 0, "y": 512, "width": 512, "height": 512, "Target": 1}
    none = {"patientId": "d2", "x": "", "y": "", "width": "", "height": "", "Target": 0}
    write_csv(root / "stage_2_train_labels.csv", box, none)


def chexpert(root):
    labels = dict.fromkeys(FINDINGS, "") | {"Edema": "1.0", "Pneumonia": "-1.0", "Fracture": "0.0"}
    row = {
        "Path": "CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg", "Sex": "Female",
        "Age": "68", "Frontal/Lateral": "Frontal", "AP/PA": "AP", **labels,
    }  # fmt: skip
    write_csv(root / "train.csv", row)


def padchest(root):
    row = {
        "ImageID": "d1.png", "StudyID": "s1", "PatientID": "p1", "Projection": "PA",
        "Labels": "['pleural effusion', ' rib fracture', 'unchanged']",
    }  # fmt: skip
    normal = {**row, "ImageID": "d2.png", "StudyID": "s2", "PatientID": "p2",
              "Labels": "['normal']"}  # fmt: skip
    write_csv(root / PADCHEST, row, normal)


def vqa_rad(root):
    row = {
        "qid": 1, "phrase_type": "freeform", "image_name": "d1.jpg", "image_organ": "CHEST",
        "question": "Is there edema?", "answer": "Yes", "answer_type": "CLOSED",
    }  # fmt: skip
    write_json(root / VQA_RAD, [
        row, {**row, "question": "Which side?", "answer": "left"},
        {**row, "phrase_type": "test_freeform"}, {**row, "image_organ": "HEAD"},
    ])  # fmt: skip


def slake(root):
    row = {
        "img_id": 1, "img_name": "d1/source.jpg", "question": "Is there edema?", "answer": "No",
        "q_lang": "en", "location": "Lung", "modality": "X-Ray", "qid": 1,
    }  # fmt: skip
    write_json(root / "train.json", [row, {**row, "q_lang": "zh"}, {**row, "modality": "CT"}])
    write_json(root / "validate.json", [{**row, "img_name": "d2/source.jpg", "answer": "Chest"}])


def rad_restruct(root):
    write_json(root / RESTRUCT_IMAGES, {"r1": ["d1"]})
    rows = [
        ["Is anything wrong with the lung?", ["yes"], [], {"options": ["yes", "no"]}],
        ["What?", ["opacity"], [["Is anything wrong with the lung?", ["yes"]]],
         {"options": ["nodule", "opacity", "mass"]}],
    ]  # fmt: skip
    write_json(root / "train_qa_pairs" / "r1.json", rows)
    (root / "val_qa_pairs").mkdir()


WRITERS = {
    "ms-cxr": ms_cxr, "ms-cxr-t": ms_cxr_t, "vindr-cxr": vindr, "siim": siim, "rsna": rsna,
    "chexpert": chexpert, "padchest": padchest, "vqa-rad": vqa_rad, "slake": slake,
    "rad-restruct": rad_restruct,
}  # fmt: skip
ANSWERS = {
    "ms-cxr": [("phrase-grounding", [[10, 40, 20, 50], [70, 40, 80, 50]])],
    "ms-cxr-t": [("progression", "stable"), ("progression", "worsening")],
    "vindr-cxr": [("abnormality-detection", [[10, 50, 90, 80]]), ("abnormality-detection", [])],
    "siim": [("abnormality-detection", [[10, 2, 11, 3]]),
             ("pneumothorax-region", {"side": "right", "region": "apex"}),
             ("abnormality-detection", [])],
    "rsna": [("abnormality-detection", [[0, 50, 50, 100]]), ("binary-disease", True),
             ("abnormality-detection", []), ("binary-disease", False)],
    "chexpert": [("view", "AP"), ("binary-disease", True), ("binary-disease", False)],
    "padchest": [("view", "PA"), ("binary-disease", True), ("binary-disease", True),
                 ("view", "PA"), *[("binary-disease", False)] * 13],
    "vqa-rad": [("vqa-yes-no", True), ("vqa", None)],
    "slake": [("vqa-yes-no", False), ("vqa", None)],
    "rad-restruct": [("vqa-yes-no", True), ("vqa-choice", ["opacity"])],
}  # fmt: skip


def test_every_collection_has_a_miniature():
    assert WRITERS.keys() == ANSWERS.keys() == SOURCES.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_a_collection_is_read_in_its_own_layout(name, tmp_path):
    WRITERS[name](tmp_path)
    found = list(examples(SOURCES[name], tmp_path))
    keys = [(r.task, json.loads(r.answer_key) if r.answer_key else None) for r in found]
    assert sorted(keys, key=str) == sorted(ANSWERS[name], key=str)
    assert {row.task for row in found} <= SOURCES[name].tasks
    assert all(row.licence and scorers.score(row, row.response) == 1 for row in found)
    assert all(row.split in ("train", "val") for row in found)


@pytest.mark.parametrize("name", WRITERS)
def test_a_collection_that_is_not_there_is_refused_with_its_file(name, tmp_path):
    with pytest.raises(TaskTableError) as caught:
        list(examples(SOURCES[name], tmp_path))
    assert caught.value.hint


def test_a_table_without_a_column_is_refused(tmp_path):
    write_csv(tmp_path / "train-rle.csv", {"ImageId": "d1"})
    with pytest.raises(TaskTableError, match="has no column EncodedPixels"):
        list(examples(SOURCES["siim"], tmp_path))


def test_rows_of_a_collection_take_patient_and_split_of_the_catalog(tmp_path):
    rsna(tmp_path)
    source = {"rsna": {"path": tmp_path, "licence": "ours"}}
    wanted = mixtures.TaskMixture(name="x", tasks={"abnormality-detection": 1}, sources=source)
    made = make.make(Catalog([film("s1", image_id="d1")], {}), wanted)
    assert [(r.patient_id, r.split, r.licence) for r in made] == [("p_s1", "train", "ours")]
    assert made.dropped == {"abnormality-detection: film is not in the catalog": 1}


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 4), st.integers(0, 60), st.integers(1, 4))
def test_a_mask_becomes_the_box_around_it(top, height, left, width):
    runs, place = [], 0
    for column in range(left, left + width):
        runs += [column * 64 + top - place, height]
        place = column * 64 + top + height
    mask = mask_of(" ".join(map(str, runs)), 64)
    wanted = np.zeros((64, 64), bool)
    wanted[top : top + height, left : left + width] = True
    assert (mask == wanted).all()
    assert box_of(mask) == percent((left, top, left + width, top + height), 64, 64)


def test_left_of_the_film_is_the_patients_right():
    assert place_of(Box(10, 5, 30, 15)) == Place("right", "apex")
    assert place_of(Box(70, 70, 90, 90)) == Place("left", "lower")


def test_a_box_needs_two_readers():
    box, near, far = Box(10, 10, 50, 50), Box(12, 12, 52, 52), Box(80, 80, 90, 90)
    assert agreed([("a", box), ("b", near), ("c", far)]) == [Box(11, 11, 51, 51)]
    assert agreed([("a", box), ("a", near)]) == []


CHOICE = {
    "question": "Which?", "option_0": "Edema", "option_1": "Mass", "option_2": None,
    "option_3": None, "answer": 1, "image_path": "files/p10/p10000032/s1/d.jpg",
    "data_source": "MIMIC-CXR", "slice": "one",
}  # fmt: skip
BENCH = {
    "Single Disease Identification": [CHOICE],
    "Temporal Classification": [{**CHOICE, "image_path": ["a.jpg", "b.jpg"]}],
    "Phrase Grounding": [{"image_path": ["d.jpg"], "question": "Locate it",
                          "answer": "it <|box|>(10,20),(30,40)<|/box|>"}],
    "Findings Generation": [{"image_path": ["d.jpg", "l.jpg"], "section_indication": "Cough.",
                             "section_findings": "Clear lungs."}],
    "Findings Summarization": [{"image_path": [], "section_findings": "Clear lungs.",
                                "section_impression": "Normal."}],
}  # fmt: skip


def test_the_published_file_is_read(tmp_path):
    write_json(tmp_path / "data.json", BENCH)
    found = {item.bench: item for item in bench.items(tmp_path / "data.json")}
    assert found.keys() == BENCH.keys()
    one = found["Single Disease Identification"].example
    assert one.options == ("Edema", "Mass")
    assert one.patient_id == "p10000032"
    assert scorers.score(one, "(B)") == scorers.score(one, "A mass.") == 1
    assert scorers.score(one, "I cannot tell.") == scorers.score(one, "") == 0
    box = found["Phrase Grounding"].example
    assert scorers.score(box, "(10,20),(30,40)") == 1
    assert scorers.score(box, "It is there.") == 0
    assert scorers.score(box, "(20,20),(40,40)") == pytest.approx(1 / 3)
    assert found["Findings Summarization"].image_paths == ()
    assert "Cough." in found["Findings Generation"].example.instruction


@pytest.mark.parametrize(
    "broken",
    [[], {"other": []}, {"Single Disease Identification": [{**CHOICE, "answer": 3}]},
     {"Phrase Grounding": [{**BENCH["Phrase Grounding"][0], "answer": "none"}]}],
)  # fmt: skip
def test_a_file_of_another_layout_is_refused(broken, tmp_path):
    write_json(tmp_path / "data.json", broken)
    with pytest.raises(TaskTableError):
        list(bench.items(tmp_path / "data.json"))
