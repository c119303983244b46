"""The same figures for parts of val: by view, projection, sex, age, device and source.

A group of fewer than twenty patients is left out: its interval would say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from training.catalog import Film

MIN_PATIENTS = 20
UNSTATED = "not stated"

AGES = ((40.0, "under 40"), (65.0, "40 to 64"))


def age_of(film: Film) -> str:
    """Return the band of a film's age, empty where it is not stated."""
    if film.age is None:
        return ""
    return next((name for limit, name in AGES if film.age < limit), "65 and over")


GROUPINGS: Mapping[str, Callable[[Film], str]] = {
    "view": lambda film: film.view,
    "projection": lambda film: film.projection,
    "sex": lambda film: film.sex,
    "age": age_of,
    "device": lambda film: film.device,
    "source": lambda film: film.source,
}


def subgroups(films: Sequence[Film]) -> dict[str, list[int]]:
    """Return places in ``films`` by group, ``grouping: value``, largest groups first.

    A grouping that does not divide the films is left out.
    """
    found: dict[str, list[int]] = {}
    for grouping, value_of in GROUPINGS.items():
        parts: dict[str, list[int]] = {}
        for place, film in enumerate(films):
            parts.setdefault(value_of(film) or UNSTATED, []).append(place)
        large = {
            f"{grouping}: {value}": places
            for value, places in parts.items()
            if len({films[place].patient_id for place in places}) >= MIN_PATIENTS
        }
        if len(parts) > 1:
            found |= dict(sorted(large.items(), key=lambda item: -len(item[1])))
    return found
