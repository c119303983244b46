"""`cxr-labeler` rule by rule, its properties, and its floors on two reference sets."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.findings import FINDINGS
from engine.labeler import NAME, VERSION, label, mentions
from tests.engine import label_references as references
from tests.films import CXR

PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0
COLUMN = {name: index for index, name in enumerate(FINDINGS)}


def state(text: str, finding: str) -> float | None:
    return label(text)[COLUMN[finding]]


@pytest.mark.parametrize(
    ("text", "finding", "expected"),
    [
        # mention
        ("There is a small left pleural effusion.", "Pleural Effusion", PRESENT),
        ("Hydropneumothorax on the right.", "Pneumothorax", PRESENT),
        ("Hydropneumothorax on the right.", "Pleural Effusion", PRESENT),
        ("Patchy air-space disease at the left base.", "Lung Opacity", PRESENT),
        ("Airspace disease in the lingula.", "Lung Opacity", PRESENT),
        ("Biapical pleural thickening.", "Pleural Other", PRESENT),
        ("Right lower lobe collapse.", "Atelectasis", PRESENT),
        ("Old healed rib fractures.", "Fracture", PRESENT),
        ("Mild pulmonary vascular congestion.", "Edema", PRESENT),
        ("A 6 mm nodule projects over the right apex.", "Lung Lesion", PRESENT),
        ("Right IJ line tip in the SVC.", "Support Devices", PRESENT),
        ("Port-A-Cath in place.", "Support Devices", PRESENT),
        # what only looks like one
        ("Large pericardial effusion.", "Pleural Effusion", None),
        ("Mild wedge collapse of a vertebral body.", "Atelectasis", None),
        ("Calcified nodule in the left base.", "Lung Lesion", None),
        ("Sequela of old granulomatous infection.", "Pneumonia", None),
        ("Widening of the paratracheal line.", "Support Devices", None),
        # heart and mediastinum
        ("The heart is enlarged.", "Cardiomegaly", PRESENT),
        ("Cardiac silhouette remains mildly enlarged.", "Cardiomegaly", PRESENT),
        ("Heart size is normal.", "Cardiomegaly", ABSENT),
        ("The heart is not enlarged.", "Cardiomegaly", ABSENT),
        ("Heart size is at the upper limits of normal.", "Cardiomegaly", ABSENT),
        ("Borderline heart size.", "Cardiomegaly", UNCERTAIN),
        ("The cardiac silhouette is unchanged.", "Cardiomegaly", None),
        ("The mediastinum is widened.", "Enlarged Cardiomediastinum", PRESENT),
        ("The cardiomediastinal silhouette is within normal limits.", "Cardiomegaly", ABSENT),
        ("Mediastinal contours are normal.", "Enlarged Cardiomediastinum", ABSENT),
        # negation and its scope
        ("No pneumothorax, effusion, or consolidation.", "Consolidation", ABSENT),
        ("Lungs are free of focal airspace disease.", "Lung Opacity", ABSENT),
        ("Without evidence of pulmonary edema.", "Edema", ABSENT),
        ("Pleural effusion is not seen.", "Pleural Effusion", ABSENT),
        ("The right pneumothorax has resolved.", "Pneumothorax", ABSENT),
        ("No effusion, but there is a left pneumothorax.", "Pneumothorax", PRESENT),
        ("No pneumothorax, small left pleural effusion.", "Pleural Effusion", PRESENT),
        ("No effusion, left basilar atelectasis is unchanged.", "Atelectasis", PRESENT),
        ("No significant change in the right pleural effusion.", "Pleural Effusion", PRESENT),
        ("The NG tube tip is not visualized.", "Support Devices", PRESENT),
        ("The chest tube has been removed.", "Support Devices", ABSENT),
        # hedges
        ("Possible left lower lobe pneumonia.", "Pneumonia", UNCERTAIN),
        ("Opacity may represent atelectasis or pneumonia.", "Pneumonia", UNCERTAIN),
        ("Opacity may represent atelectasis or pneumonia.", "Lung Opacity", PRESENT),
        ("Pneumonia cannot be excluded.", "Pneumonia", UNCERTAIN),
        ("Cannot exclude a small effusion.", "Pleural Effusion", UNCERTAIN),
        ("Findings concerning for edema.", "Edema", UNCERTAIN),
        ("Atelectasis versus scarring.", "Atelectasis", UNCERTAIN),
        # what was asked is not what was seen
        ("Recommend CT to evaluate for pulmonary nodule.", "Lung Lesion", None),
        ("History of pneumonia.", "Pneumonia", None),
        # aggregation
        ("No effusion on the left. Right pleural effusion.", "Pleural Effusion", PRESENT),
        ("No pneumonia. Pneumonia is possible.", "Pneumonia", UNCERTAIN),
    ],
)
def test_one_rule(text, finding, expected):
    assert state(text, finding) == expected


def test_no_finding_needs_a_report_that_says_something_and_finds_nothing():
    assert state("The lungs are clear. Heart size is normal.", "No Finding") == PRESENT
    assert state("No acute disease. Left pacemaker.", "No Finding") == PRESENT
    assert state("Lungs are clear. Scoliosis of the spine.", "No Finding") == ABSENT
    assert state("Possible effusion.", "No Finding") == ABSENT
    assert label("") == (None,) * 14
    assert label("The film was taken on Monday.") == (None,) * 14


def test_only_what_was_seen_is_labelled():
    asked = "INDICATION: Evaluate pneumothorax. COMPARISON: Pneumonia before.\n"
    text = f"{asked}FINDINGS: Cardiomegaly. IMPRESSION: Left effusion. TECHNIQUE: chest tube view."
    stated = {mention.finding for mention in mentions(text)}
    assert stated == {"Cardiomegaly", "Pleural Effusion"}
    views = "HISTORY: Fracture. PORTABLE AP VIEW OF THE CHEST: Pulmonary edema."
    assert {mention.finding for mention in mentions(views)} == {"Edema"}


def test_a_dictation_that_goes_on_without_a_new_heading_is_read_from_its_second_sentence():
    text = "INDICATION: Fever, pneumonia. The heart is enlarged."
    assert {mention.finding for mention in mentions(text)} == {"Cardiomegaly"}


def test_a_mention_knows_where_it_stands_and_what_is_said_of_it():
    text = "FINDINGS: Clear apices. Small LEFT pleural effusion and moderate right basilar " \
        "atelectasis, unchanged."  # fmt: skip
    effusion, atelectasis = sorted(mentions(text), key=lambda mention: mention.span)
    assert text[slice(*effusion.span)] == "pleural effusion"
    assert effusion.sentence.startswith("Small LEFT")
    assert (effusion.side, effusion.severity, effusion.region) == ("left", "mild", None)
    assert (atelectasis.side, atelectasis.severity, atelectasis.region) == (
        "right", "moderate", "base",
    )  # fmt: skip
    assert effusion.comparison
    (both,) = mentions("Bilateral pleural effusions.")
    assert (both.side, both.severity, both.comparison) == ("bilateral", None, False)


def test_sentences_end_where_they_end():
    text = "ET tube 5.2 cm above the carina.There is an effusion. 2. No pneumothorax"
    found = {mention.finding: mention.sentence for mention in mentions(text)}
    assert found["Support Devices"] == "ET tube 5.2 cm above the carina."
    assert found["Pleural Effusion"] == "There is an effusion."
    assert state(text, "Pneumothorax") == ABSENT


NOUNS = {
    "pleural effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "focal consolidation": "Consolidation",
    "pneumonia": "Pneumonia",
    "pulmonary edema": "Edema",
    "basilar atelectasis": "Atelectasis",
    "rib fracture": "Fracture",
    "pulmonary nodule": "Lung Lesion",
    "pleural thickening": "Pleural Other",
    "cardiomegaly": "Cardiomegaly",
    "airspace opacity": "Lung Opacity",
    "mediastinal widening": "Enlarged Cardiomediastinum",
    "chest tube": "Support Devices",
}
STATEMENTS = ("There is {}.", "{} is seen.", "Small {} at the left.", "The film shows {}.")
DENIALS = ("There is no {}.", "No evidence of {}.", "Without {}.", "No {} or fluid level.")
DOUBTS = ("Possible {}.", "There may be {}.", "Cannot exclude {}.", "{} is possible.",
          "Question of {}.", "{} cannot be excluded.", "Findings suggestive of {}.")  # fmt: skip

nouns = st.sampled_from(sorted(NOUNS))
sentences = st.builds(str.format, st.sampled_from(STATEMENTS + DENIALS + DOUBTS), nouns)
reports = st.lists(sentences, min_size=1, max_size=6)


@given(nouns, st.sampled_from(STATEMENTS), st.sampled_from(DENIALS), st.sampled_from(DOUBTS))
@settings(max_examples=300, deadline=None)
def test_a_negation_flips_and_a_hedge_makes_uncertain(noun, statement, denial, doubt):
    finding = NOUNS[noun]
    assert state(statement.format(noun), finding) == PRESENT
    assert state(denial.format(noun), finding) == ABSENT
    assert state(doubt.format(noun), finding) == UNCERTAIN


@given(reports, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_sentences_does_not_matter(report, random):
    shuffled = list(report)
    random.shuffle(shuffled)
    assert label(" ".join(report)) == label(" ".join(shuffled))


@given(reports, st.sampled_from([str.upper, str.title, str.lower]), st.sampled_from("\n\t "))
@settings(deadline=None)
def test_case_and_white_space_do_not_matter(report, recase, blank):
    text = " ".join(report)
    assert label(recase(text).replace(" ", blank * 2)) == label(text)


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_labelled_and_every_span_lies_in_it(text):
    assert len(label(text)) == 14
    for mention in mentions(text):
        assert 0 <= mention.span[0] < mention.span[1] <= len(text)
        assert mention.sentence in text


@pytest.mark.parametrize("word", ["no effusion ", "pulmonary ", "may be ", ", left heart is "])
def test_time_grows_with_the_text_and_not_with_its_square(word):
    def seconds(repeats: int) -> float:
        started = time.perf_counter()
        label(word * repeats)
        return time.perf_counter() - started

    assert seconds(4000) < 12 * seconds(1000) + 0.5


def test_the_labeler_stands_on_the_standard_library():
    heavy = "import sys, engine.labeler; print(*sys.modules.keys() & {'numpy', 'torch', 'onnx'})"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert NAME == "cxr-labeler"
    assert VERSION


needs_radlabels = pytest.mark.skipif(
    references.radlabels_file() is None, reason="radlabels is not installed"
)
needs_iu = pytest.mark.skipif(
    not (CXR / "iu_reports.jsonl").exists(), reason="the IU reports are not here (CXR_SHARED)"
)


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        pytest.param("radlabels", 0.93, marks=needs_radlabels),
        pytest.param("iu", 0.88, marks=needs_iu),
    ],
)
def test_the_floor_holds_on_the_half_that_the_rules_were_not_written_on(name, floor):
    unseen = [study for study in references.load(name) if references.half(study.uid) == "odd"]
    scores = references.table(name, unseen, [label(study.text) for study in unseen])
    print(f"\n{NAME} {VERSION} on {name}, odd half, {len(unseen)} reports")
    print(references.render(scores))
    assert len(unseen) > 400
    assert scores["micro"].f1 >= floor
