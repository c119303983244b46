import json

import pytest

from training import catalog
from training.errors import CatalogError
from training.sections import Report


def rewrite(root, films_dir, change):
    """Copy a films folder's manifest, one row changed, pictures left where they are."""
    (root / "images").symlink_to(films_dir / "images")
    rows = [json.loads(line) for line in (films_dir / "manifest.jsonl").read_text().splitlines()]
    change(rows)
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_a_catalog_survives_the_disk(films_dir, tmp_path):
    made = catalog.build(films_dir)
    catalog.write(made, tmp_path / "catalog.parquet")
    again = catalog.read(tmp_path / "catalog.parquet")
    assert again.films == made.films
    assert again.digest() == made.digest()


def test_no_patient_stands_in_two_splits(films_dir, tmp_path):
    def share(rows):
        rows[0]["patient_id"] = rows[1]["patient_id"]

    with pytest.raises(CatalogError, match="two splits"):
        catalog.build(rewrite(tmp_path, films_dir, share))


def test_held_out_studies_never_enter_and_every_drop_has_its_reason(films_dir, tmp_path):
    def hold_out(rows):
        rows += [dict(rows[2], id=f"extra_{n}", patient_id=f"x{n}") for n in range(40)]
        rows[0]["r2gen_split"] = "test"

    made = catalog.build(rewrite(tmp_path, films_dir, hold_out))
    assert made.dropped == {"held-out test study": 1}
    assert "film_0" not in {film.image_id for film in made.films}


def test_a_catalog_that_lost_too_much_is_refused(films_dir, tmp_path):
    def lose(rows):
        for row in rows[:4]:
            row["view"] = "unknown"

    with pytest.raises(CatalogError, match="too many rows dropped"):
        catalog.build(rewrite(tmp_path, films_dir, lose))


def test_nih_classes_are_exhaustive_and_a_missing_label_is_unknown():
    assert catalog.nih_labels("Effusion|Mass")["Pleural Effusion"] == 1.0
    assert catalog.nih_labels("No Finding")["Pneumonia"] == 0.0
    assert catalog.label_row({"chexpert": {"Edema": 1.0}}, Report("", ""))[9] is None
