"""Reports beside baselines, the classifier's own figures, and the tables and plots of both."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.training.reports import film
from training.calibration import Reliability
from training.errors import TrainingError
from training.evaluate import plots
from training.evaluate.baselines import MOST_FREQUENT, NEAREST, most_frequent_normal, neighbours
from training.evaluate.bootstrap import Figure, PatientDraws
from training.evaluate.classifier_figures import evaluate_classifier, finding_figure
from training.evaluate.gallery import write_gallery
from training.evaluate.report_tables import cell, write_tables
from training.evaluate.reports import (
    MODEL,
    PREDICTIONS,
    Predicted,
    evaluate_reports,
    one_a_study,
    rescore,
    score,
    written,
)
from training.sections import Report
from training.stages import Run

SICK = [0.0] + [1.0] * 13


def test_the_commonest_normal_report_is_made_of_the_commonest_sections():
    films = [
        film("s1", "Clear lungs.", "Normal."), film("s2", "Clear lungs.", "No disease."),
        film("s3", "Normal heart.", "No disease."),
        *(film(f"s{n}", "Large effusion.", "Effusion.", labels=SICK) for n in range(4, 9)),
    ]  # fmt: skip
    assert most_frequent_normal(films) == Report("Clear lungs.", "No disease.")


def test_the_nearest_neighbour_of_a_training_film_is_itself(trained):
    rows = trained.reported("train")
    films = [trained.catalog.films[row] for row in rows]
    assert neighbours(trained, rows) == [Report(f.findings, f.impression) for f in films]


def test_a_study_is_reported_once_from_its_pa_film():
    films = [
        film("s1", projection="AP"), film("s1", projection="PA"), film("s2", projection="AP"),
        film("s2", projection=""),
    ]  # fmt: skip
    assert one_a_study(films, np.arange(4)).tolist() == [1, 2]
    assert one_a_study(films, np.array([0, 3])).tolist() == [0, 3]


def test_a_written_reference_keeps_comparisons_and_loses_redaction_marks():
    case = film("s1", written_findings="XXXX are clear, unchanged.", written_impression="Normal.")
    assert written(case) == Report("are clear, unchanged.", "Normal.")


def predicted(system, case, report):
    return Predicted(case.image_id, case.patient_id, case.study_id, system, *report)


def test_a_system_that_repeats_the_reference_scores_full_marks():
    cases = [film("s1", "There is a small left pleural effusion."), film("s2", "Clear lungs.")]
    right = [predicted("right", case, (case.findings, "")) for case in cases]
    wrong = [predicted("wrong", case, ("Tall green trees", "")) for case in cases]
    films = {case.image_id: case for case in cases}
    found = score([*right, *wrong], films, "findings", "cleaned")
    assert found["right"].overall["rouge-l"].value == 1.0
    # a sentence's end is a token, and the one that agrees
    assert found["wrong"].overall["bleu-2"].value < 1e-3
    assert found["wrong"].overall["rouge-l"].value < 0.3
    assert found["right"].num_distinct == 2


def test_films_whose_reference_lacks_the_section_are_not_scored():
    cases = [film("s1", "Clear lungs."), film("s2", "", "Normal.")]
    rows = [predicted("model", case, ("Clear lungs.", "Normal.")) for case in cases]
    films = {case.image_id: case for case in cases}
    assert score(rows, films, "findings", "cleaned")["model"].num_reports == 1
    assert score(rows, films, "report", "cleaned")["model"].num_reports == 2


@pytest.fixture(scope="module")
def reported(trained, bundle_dir):
    return evaluate_reports(trained, bundle_dir, limit=2)


def test_predictions_are_written_for_the_model_and_both_baselines(trained, reported):
    output = trained.run_dir / "evaluate" / "reports"
    rows = pq.read_table(output / PREDICTIONS).to_pylist()
    systems = [row["system"] for row in rows]
    assert {name: systems.count(name) for name in systems} == {
        MODEL: 2, MOST_FREQUENT: 2, NEAREST: 2,
    }  # fmt: skip
    wrote = {row["findings"] for row in rows if row["system"] == NEAREST}
    assert wrote <= {trained.catalog.films[row].findings for row in trained.reported("train")}


def test_written_predictions_are_scored_again_without_a_model(trained, reported):
    output = trained.run_dir / "evaluate" / "reports"
    stored = json.loads((output / "metrics.json").read_text())
    again = rescore(trained, output, stored["bundle"])
    ours, theirs = (found["findings", "written"][NEAREST] for found in (again, reported))
    assert json.dumps(asdict(ours)) == json.dumps(asdict(theirs))
    overall = stored["report, cleaned"][MODEL]["overall"]
    assert (
        overall["bleu-4"]["value"] == reported["report", "cleaned"][MODEL].overall["bleu-4"].value
    )
    assert stored["definitions"]
    by_finding = json.loads((output / "findings.json").read_text())["report, cleaned"][MODEL]
    assert by_finding["findings"]["No Finding"]["f1"]


def test_the_gallery_shows_the_worst_of_each_kind_with_its_film(trained, tmp_path):
    rows = trained.reported("val")[:2]
    cases = [trained.catalog.films[row] for row in rows]
    wrong = predicted(MODEL, cases[0], ("Large left pneumothorax. Cardiomegaly.", ""))
    right = predicted(MODEL, cases[1], (cases[1].written_findings, cases[1].written_impression))
    write_gallery(trained, [wrong, right], tmp_path)
    text = (tmp_path / "failures.md").read_text()
    assert "## false: in 1 drafts" in text
    assert "Large left pneumothorax. Cardiomegaly." in text.split("## missing")[0]
    shown = sorted((tmp_path / "failures").glob("*.png"))
    assert [path.stem for path in shown] == [cases[0].image_id]
    assert np.array_equal(np.asarray(Image.open(shown[0])), trained.images[rows[0]])


def test_the_tables_hold_every_system_and_every_figure(trained, reported, tmp_path):
    write_tables(reported, tmp_path)
    text = (tmp_path / "tables.md").read_text()
    for (section, kind), systems in reported.items():
        assert f"### {section.capitalize()}, reference {kind}" in text
        for name, figures in systems.items():
            assert name in text
            assert cell(figures.overall["rouge-l"]) in text
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"f1-micro.png", "f1-macro.png", "f1-weighted.png"}


def test_the_area_of_a_finding_is_over_stated_labels():
    labels = np.array([1.0] * 6 + [0.0] * 6 + [np.nan] * 6)
    chances = np.array([0.9] * 6 + [0.1] * 6 + [0.5] * 6)
    draws = PatientDraws([f"p{number}" for number in range(18)])
    assert finding_figure(labels, chances, draws).value == 1.0
    assert finding_figure(labels, -chances, draws).value == 0.0
    labels[:3] = np.nan
    assert finding_figure(labels, chances, draws) is None


def test_the_classifier_s_figures_are_written_with_two_plots(trained):
    figures = evaluate_classifier(trained)
    output = trained.run_dir / "evaluate" / "classifier"
    stored = json.loads((output / "metrics.json").read_text())
    assert stored["view accuracy"]["value"] == figures["view accuracy"].value
    assert 0 <= figures["view accuracy"].value <= 1
    assert figures["ECE before"].value == figures["ECE after"].value > 0
    for name in ("auroc.png", "reliability.png"):
        with Image.open(output / name) as picture:
            assert picture.format == "PNG"


def test_an_uncalibrated_classifier_is_sent_to_calibration(trained, tmp_path):
    run_dir = shutil.copytree(trained.run_dir, tmp_path / "run")
    shutil.rmtree(run_dir / "calibration")
    with pytest.raises(TrainingError) as caught:
        evaluate_classifier(Run(trained.recipe, run_dir))
    assert "cxr-train calibrate" in caught.value.hint


def inked(path):
    """Return how many pixels of a plot are of the plotted colour, and where they begin."""
    blue = np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - [31, 119, 180]).sum(2)
    columns = np.flatnonzero((blue < 30).any(0))
    return len(columns), columns[0]


def test_a_wider_interval_is_drawn_wider(tmp_path):
    narrow, wide = Figure(0.5, 0.45, 0.55, 9), Figure(0.5, 0.1, 0.9, 9)
    bounds = {"from": Figure(0.0, 0.0, 0.0, 1), "to": Figure(1.0, 1.0, 1.0, 1)}
    widths = []
    for figure in (narrow, wide):
        plots.intervals({"model": figure, **bounds}, "F1", tmp_path / "plot.png")
        widths.append(inked(tmp_path / "plot.png")[0])
    assert widths[1] > 2 * widths[0]


def test_a_reliability_plot_has_a_line_for_each_set_of_bins(tmp_path):
    bins = {"before": [Reliability(0.2, 0.4, 5), Reliability(0.8, 0.6, 5)]}
    plots.reliability(bins, tmp_path / "one.png")
    plots.reliability(bins | {"after": [Reliability(0.3, 0.3, 5)]}, tmp_path / "two.png")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one != two
    assert inked(tmp_path / "one.png")[0] > 50
