"""Report metrics against hand-made values, slow definitions and scikit-learn."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from engine.findings import FINDINGS
from engine.labeler import label
from training.errors import TrainingError
from training.evaluate import label_scores, overlap
from training.evaluate.adapters import (
    PACKAGES,
    Adapter,
    Unavailable,
    conflict,
    open_adapter,
)
from training.evaluate.bootstrap import PatientResamples, bootstrap
from training.evaluate.finding_errors import Errors, compare, length_controlled
from training.evaluate.published_metrics import lines, published_metrics
from training.evaluate.report_metrics import DEFINITIONS, Pair, measure

SENTENCES = (
    "Heart size is normal.",
    "The heart is enlarged.",
    "Small left pleural effusion.",
    "Moderate right pleural effusion, unchanged.",
    "No pleural effusion.",
    "No pneumothorax.",
    "Possible left lower lobe pneumonia.",
    "Bibasilar atelectasis.",
    "Right PICC tip in the SVC.",
    "The lungs are clear.",
)


def made_pairs(count: int, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(SENTENCES, rng.integers(1, 6))) for _ in range(2 * count)]
    owners = [f"p{index // 2}" for index in range(count)]
    return [Pair(*row) for row in zip(owners, texts[::2], texts[1::2], strict=True)]


# words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lungs are clear.", "the lungs are clear ."),
        ("1. No effusion. 2. Heart: normal", "no effusion . heart normal ."),
        ("ET tube 5.2 cm (above) carina..", "et tube 52 cm above carina ."),
        ("well-expanded lungs", "well-expanded lungs ."),
        ("", ""),
    ],
)
def test_tokens_follow_the_documented_rule(text, expected):
    assert overlap.tokens(text) == expected.split()


def test_bleu_and_rouge_of_a_pair_worked_out_by_hand():
    predicted, reference = overlap.tokens("The cat sat."), overlap.tokens("The cat sat down.")
    counts = overlap.bleu_counts(predicted, reference)
    assert counts == [4, 2, 1, 0, 4, 3, 2, 1, 4, 5]
    penalty = math.exp(1 - 5 / 4)
    sums = np.array([counts])
    assert overlap.bleu(1)(sums)[0] == pytest.approx(penalty)
    assert overlap.bleu(2)(sums)[0] == pytest.approx(penalty * math.sqrt(2 / 3))
    assert overlap.bleu(3)(sums)[0] == pytest.approx(penalty * (2 / 3 / 2) ** (1 / 3))
    assert overlap.bleu(4)(sums)[0] < 1e-3
    # four common tokens: precision 1, recall 4/5
    assert overlap.rouge_l(predicted, reference) == pytest.approx(2.44 * 0.8 / (0.8 + 1.44))


def test_bleu_clips_repetition_and_never_rewards_length():
    reference = overlap.tokens("The lungs are clear.")
    chatter = overlap.tokens("The the the the the lungs lungs lungs.")
    clipped = overlap.bleu_counts(chatter, reference)
    assert clipped[0] == 3
    long = overlap.bleu(1)(np.array([clipped]))[0]
    assert long == pytest.approx(3 / len(chatter))


words = st.lists(st.sampled_from("abcd"), max_size=12)


@given(words, words)
@settings(deadline=None)
def test_the_common_subsequence_is_that_of_the_textbook(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            grown = table[i - 1, j - 1] + 1
            table[i, j] = grown if a == b else max(table[i - 1, j], table[i, j - 1])
    assert overlap.common_subsequence(first, second) == table[-1, -1]


# labels --------------------------------------------------------------------------------------


def test_label_figures_are_those_of_scikit_learn():
    pairs = made_pairs(300)
    figures = measure(pairs, num_resamples=10)
    states = [
        np.array([[2.0 if s is None else s for s in label(text)] for text in texts])
        for texts in ([p.predicted for p in pairs], [p.reference for p in pairs])
    ]
    found, wanted = (np.isin(one, (1.0, -1.0)).astype(int) for one in states)
    occurring = np.flatnonzero((found | wanted).any(0))
    for average in ("micro", "macro", "weighted"):
        expected = sklearn_metrics.f1_score(
            wanted[:, occurring], found[:, occurring], average=average, zero_division=0
        )
        assert figures.overall[f"f1 {average}"].value == pytest.approx(expected)
    column = FINDINGS.index("Pleural Effusion")
    effusion = figures.findings["Pleural Effusion"]
    expected = sklearn_metrics.roc_auc_score(wanted[:, column], found[:, column])
    assert effusion["auroc"].value == pytest.approx(expected)
    for average in ("micro", "macro", "weighted"):
        expected = sklearn_metrics.jaccard_score(
            states[1][:, column], states[0][:, column], average=average
        )
        assert effusion[f"jaccard-{average}"].value == pytest.approx(expected)


def test_a_finding_that_nobody_states_has_no_figure_and_does_not_lower_the_mean():
    row = label("Small left pleural effusion.")
    sums = label_scores.contingency([row], [row]).sum(0, keepdims=True)
    assert math.isnan(label_scores.of_finding("f1", "Fracture")(sums)[0])
    assert label_scores.averaged("f1", "macro")(sums)[0] == 1.0
    assert math.isnan(label_scores.of_finding("auroc", "Pleural Effusion")(sums)[0])


# errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        ("Small left effusion.", "Left effusion, small.", Errors(matched=1)),
        ("Lungs are clear.", "No acute disease.", Errors(matched=1)),
        ("Left effusion.", "Lungs are clear.", Errors(false=1)),
        ("Lungs are clear.", "Left effusion.", Errors(missing=1)),
        ("Left effusion.", "Right effusion.", Errors(wrong_side=1)),
        ("Left effusion.", "Left and right effusions.", Errors(wrong_side=1)),
        ("Large effusion.", "Small effusion.", Errors(wrong_severity=1)),
        ("Large left effusion.", "Small right effusion.", Errors(wrong_side=1, wrong_severity=1)),
        ("Effusion.", "Small right effusion.", Errors(matched=1)),
        ("Stable effusion.", "An effusion.", Errors(matched=1, invented_comparison=1)),
        ("An effusion.", "Stable effusion.", Errors(matched=1, omitted_comparison=1)),
        ("Scoliosis.", "Granuloma.", Errors()),
    ],
)
def test_one_kind_of_error(predicted, reference, expected):
    assert compare(predicted, reference) == expected


def test_the_score_of_errors_and_its_length_control():
    assert Errors(matched=2, false=1, missing=1).score == 0.5
    assert Errors().score is None
    assert length_controlled(0.5, "a b c d", "a b") == 0.25
    assert length_controlled(0.5, "a", "a b") == 0.5


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5, unique=True))
@settings(deadline=None)
def test_a_report_has_no_error_against_itself(sentences):
    text = " ".join(sentences)
    errors = compare(text, text)
    assert errors == Errors(matched=errors.matched)


# together ------------------------------------------------------------------------------------


def test_a_perfect_model_and_a_model_that_says_one_thing():
    pairs = made_pairs(60)
    same = measure([Pair(p.patient_id, p.reference, p.reference) for p in pairs])
    for name in ("bleu-4", "rouge-l", "f1 micro", "jaccard micro", "finding-error score"):
        assert same.overall[name].value == pytest.approx(1.0)
    dull = measure([Pair(p.patient_id, "The lungs are clear.", p.reference) for p in pairs])
    assert (dull.num_reports, dull.num_distinct) == (60, 1)
    assert dull.overall["f1 micro"].value < 0.3
    assert dull.errors["missing"] > dull.errors["matched"]
    assert dull.positives["Pleural Effusion"] > 0


def test_repeating_the_truth_lowers_only_the_length_controlled_score():
    pairs = [Pair("p", "Left effusion. " * 3, "Left effusion.")]
    overall = measure(pairs, num_resamples=5).overall
    assert overall["finding-error score"].value == 1.0
    assert overall["finding-error score, length-controlled"].value == pytest.approx(1 / 3)


def test_nothing_to_measure_is_refused():
    with pytest.raises(TrainingError, match="no generated reports"):
        measure([])


def test_a_thousand_resamples_of_a_test_set_take_seconds():
    pairs = made_pairs(600)
    started = time.perf_counter()
    figures = measure(pairs)
    assert time.perf_counter() - started < 60
    effusion = figures.findings["Pleural Effusion"]["f1"]
    assert effusion.low < effusion.value < effusion.high
    assert effusion.count == 300
    assert {"labels", "bleu", "rouge-l"} <= DEFINITIONS.keys()


def test_patients_are_resampled_and_not_reports():
    rng = np.random.default_rng(0)
    values = rng.normal(size=50)

    def mean(sums):
        return sums[:, 0] / sums[:, 1]

    def rows(repeats: int):
        return np.repeat(np.stack([values, np.ones(50)], 1), repeats, 0)

    once, often = (
        PatientResamples([f"p{i}" for i in range(50) for _ in range(k)]).figure(rows(k), mean)
        for k in (1, 5)
    )
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.count == 50
    slow = bootstrap(50, lambda cases: float(values[cases].mean()))
    assert (once.low, once.high) == pytest.approx((slow.low, slow.high), abs=0.03)


# adapters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", PACKAGES)
def test_an_adapter_says_what_is_missing(metric, tmp_path):
    assert "no path" in str(open_adapter(metric, None))
    absent = open_adapter(metric, tmp_path)
    assert isinstance(absent, Unavailable)
    assert all(name in absent.reason for name in PACKAGES[metric].files)
    complete = with_files(tmp_path / metric, metric)
    assert "not installed" in str(open_adapter(metric, complete))
    nowhere = open_adapter(metric, complete, tmp_path / "no-python")
    assert str(nowhere).startswith(f"{metric}: not available")


def with_files(folder: Path, metric: str) -> Path:
    for name in PACKAGES[metric].files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_version_conflict_is_named():
    package = PACKAGES["green"]
    good = {"python": "3.12.1", "torch": "2.2.2+cu121", "transformers": "4.40.0"}
    assert conflict(package, {**good, "green-score": "0.0.12"}) == ""
    reason = conflict(package, {**good, "green-score": "0.0.12", "transformers": "5.23.0"})
    assert reason == "version conflict: transformers 5.23.0, it needs ==4.40.0"
    chexbert = PACKAGES["chexbert"]
    assert "needs <5" in conflict(chexbert, {"f1chexbert": "0.0.2", "transformers": "5.23.0"})
    assert conflict(chexbert, {"f1chexbert": "0.0.2", "transformers": "4.57.1"}) == ""


STAND_IN = """
import os
class F1RadGraph:
    def __init__(self, reward_level, model_type, model_cache_dir):
        assert reward_level == "all" and model_type == "radgraph-xl"
        assert os.path.isfile(os.path.join(model_cache_dir, "radgraph-xl", "weights.th"))
        assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
        assert os.path.samefile(os.getcwd(), model_cache_dir)
        print("chatter on stdout")
    def __call__(self, hyps, refs):
        equal = [float(a == b) for a, b in zip(hyps, refs, strict=True)]
        if "fail" in hyps:
            raise RuntimeError("no such layer")
        return (sum(equal) / len(equal), 0.25, 0.125), equal, [], []
"""


@pytest.fixture
def installed_radgraph(tmp_path, monkeypatch):
    """A package of the same shape as radgraph 0.1.18, beside an older transformers."""
    site = tmp_path / "site"
    for name, version in (("radgraph", "0.1.18"), ("transformers", "4.57.1")):
        record = site / f"{name}-{version}.dist-info" / "METADATA"
        record.parent.mkdir(parents=True)
        record.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site / "radgraph.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return with_files(tmp_path / "weights" / "radgraph", "radgraph")


def test_an_adapter_scores_offline_in_the_folder_of_its_weights(installed_radgraph):
    assert "HF_HUB_OFFLINE" not in os.environ
    adapter = open_adapter("radgraph", installed_radgraph)
    assert isinstance(adapter, Adapter)
    assert adapter.versions["radgraph"] == "0.1.18"
    scores = adapter.score(["a", "é"], ["b", "é"])
    assert scores == {"simple": 0.5, "partial": 0.25, "complete": 0.125}
    with pytest.raises(TrainingError, match="no such layer"):
        adapter.score(["fail"], ["b"])


def test_published_metrics_are_scored_or_named_with_the_reason(installed_radgraph):
    pairs = {"model": [Pair("p1", "a", "b"), Pair("p2", "c", "c")]}
    found = published_metrics(pairs, installed_radgraph.parent, None)
    assert found["radgraph"] == {"model": {"simple": 0.5, "partial": 0.25, "complete": 0.125}}
    told = list(lines(found))
    assert any(line.startswith("chexbert: not available (") for line in told)
    assert "radgraph, model: simple 0.500, partial 0.250, complete 0.125" in told


def test_every_figure_can_be_stored_as_json():
    figures = measure(made_pairs(20), num_resamples=20)
    values = {name: figure.value for name, figure in figures.overall.items()}
    assert json.loads(json.dumps(values)) == pytest.approx(values, nan_ok=True)
