"""The phrases of the observations, and what only looks like one.

Within a table the first pattern that covers a stretch of text wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.labels.patterns import ABSENT, UNCERTAIN, words

_HEART = (
    r"(?:(?:heart|cardiac)(?: (?:size|silhouette|shadows?|contours?|outline|and mediastinal\w*"
    r"(?: silhouettes?| contours?| structures)?|and mediastinum))?)"
)
_CARDIOMEDIASTINUM = r"(?:cardio ?mediastin(?:al|um)(?: silhouettes?| contours?| structures)?)"
_MEDIASTINUM = (
    r"(?:(?:superior |upper )?mediastin(?:um|al)(?: (?:silhouette|contours?|structures|width|"
    r"borders?|size|and cardiac\w*|and hilar contours))?)"
)
_BIG = (
    r"(?:enlarged|enlargement|enlarging|prominent|prominence|widened|widening|dilated|globular|"
    r"large|larger|increased|increase in size|bigger)"
)
_NORMAL = (
    r"(?:normal|unremarkable|within(?: the)? normal|not enlarged|nonenlarged|"
    r"not (?:significantly |grossly )?(?:enlarged|widened))"
)
_UPPER_NORMAL = r"(?:upper (?:limits?|range|end|normal)|top (?:limits? of )?normal|high normal)"


@dataclass(frozen=True)
class Phrase:
    """A pattern and, where it says so by itself, the state that it means."""

    pattern: re.Pattern[str]
    state: float | None = None


def _phrases(*patterns: str, state: float | None = None) -> tuple[Phrase, ...]:
    return tuple(Phrase(words(pattern), state) for pattern in patterns)


PHRASES: dict[str, tuple[Phrase, ...]] = {
    "Enlarged Cardiomediastinum": (
        *_phrases(
            rf"{_CARDIOMEDIASTINUM}~ {_NORMAL}",
            rf"{_NORMAL} {_CARDIOMEDIASTINUM}",
            rf"{_MEDIASTINUM}~ {_NORMAL}",
            rf"{_NORMAL} {_MEDIASTINUM}",
            state=ABSENT,
        ),
        *_phrases(
            rf"(?:enlarged|enlargement of(?: the)?|widened|prominent|wide) {_CARDIOMEDIASTINUM}",
            rf"{_CARDIOMEDIASTINUM}~ {_BIG}",
            rf"{_MEDIASTINUM}~ (?:enlarged|enlargement|widened|widening|prominent|prominence|wide)",
            rf"(?:enlarged|enlargement of|widen(?:ed|ing of)|prominen(?:t|ce of))(?: the)?"
            rf"(?: superior| upper)? {_MEDIASTINUM}",
        ),
    ),
    "Cardiomegaly": (
        *_phrases(
            rf"{_HEART}~ borderline(?: (?:of )?normal| in size| enlarged| enlargement){{0,3}}",
            rf"borderline(?: \w+)? (?:cardiomegaly|enlarge\w+|{_HEART})",
            state=UNCERTAIN,
        ),
        *_phrases(
            rf"{_HEART}~ {_UPPER_NORMAL}(?: (?:of )?normal| in size){{0,3}}",
            rf"{_UPPER_NORMAL}(?: \w+){{0,3}} {_HEART}",
            state=ABSENT,
        ),
        *_phrases(
            r"cardiomegaly",
            r"cardiac enlargement",
            rf"(?:enlarged|large|prominent|dilated|globular|enlargement of(?: the)?|increased)"
            rf" (?:{_HEART}|cardio ?pericardial silhouette|{_CARDIOMEDIASTINUM})",
            rf"(?:{_HEART}|{_CARDIOMEDIASTINUM}|cardio ?pericardial silhouette)~"
            r" (?:enlarged|enlargement|enlarging|prominent|dilated|globular|large|increased)",
        ),
        *_phrases(
            rf"(?:{_HEART}|{_CARDIOMEDIASTINUM})~ {_NORMAL}",
            rf"{_NORMAL}(?: size| sized)?(?: of)?(?: the)? (?:{_HEART}|{_CARDIOMEDIASTINUM})",
            r"normal in size(?: of)?(?: the)? heart",
            state=ABSENT,
        ),
    ),
    "Lung Lesion": _phrases(
        r"nodul\w+ (?:opacit\w+|densit\w+)",
        r"(?:micro)?nodules?",
        r"(?:lung |pulmonary )?mass(?:es)?",
        r"cavitary (?:lesion|process)\w*",
        r"(?:lung|pulmonary|parenchymal|lobe|cavitary) lesions?",
        r"cavitat\w+",
        r"neoplas\w+",
        r"(?:lung |bronchogenic )?(?:carcinoma|malignancy|tumors?)",
        r"(?:pulmonary|lung|parenchymal) metasta\w+",
    ),
    "Lung Opacity": (
        *_phrases(
            r"(?:opacit|opacif)\w*",
            r"opaque",
            r"air ?space (?:disease|process|consolidation)\w*",
            r"infiltrat\w+",
            r"densit(?:y|ies)",
            r"haziness",
            r"ground ?glass(?: \w+)?",
            r"(?:increased|prominent|coarsen\w+|thicken\w+|accentuat\w+|chronic|diffuse|mild)"
            r"(?: \w+){0,2} (?:interstitial|reticular)"
            r"(?: lung)?(?: markings?| patterns?| changes?| prominence| opacit\w+)?",
            r"(?:interstitial|reticular|reticulo ?nodular)"
            r"(?: lung)? (?:markings?|patterns?|changes?|thickening|prominence|disease"
            r"|abnormalit\w+|process)",
            r"prominen(?:t|ce)(?: of)?(?: the)?(?: \w+)? interstiti\w+",
            r"interstiti(?:al|um)(?: \w+){0,3} prominen\w+",
            r"(?:peribronchial|bronchial wall) (?:cuffing|thickening)",
        ),
        *_phrases(
            r"(?:lungs?|lung fields|lungs? zones?)~ clear",
            r"clear(?: \w+)? lungs?(?: fields)?",
            state=ABSENT,
        ),
    ),
    "Edema": _phrases(
        r"(?:o)?edema\w*",
        r"(?:pulmonary |vascular |venous |central ){0,3}(?:vascular|venous|pulmonary) congest\w+",
        r"congesti(?:on|ve)(?: heart failure| changes?)?",
        r"heart failure",
        r"chf",
        r"(?:fluid|volume) overload",
        r"(?:pulmonary )?(?:vascular|vascularity|vasculature|vessels?|venous)~"
        r" (?:redistribution|engorge\w+|indistinct\w*|cephali[sz]\w+|congested)",
        r"(?:engorge\w+|indistinct\w*|cephali[sz]\w+|redistribution)(?: of)?(?: the)?(?: central)?"
        r" (?:pulmonary )?(?:vascular|vasculature|vessels?|vascularity)\w*",
        r"(?:vascular|upper (?:lobe|zone)) redistribution",
        r"cephali[sz]ation",
        r"(?:pulmonary |central |mild ){0,3}(?:vascular|vasculature|vascularity)~"
        r" (?:prominen\w+|increased)",
        r"(?:prominen(?:t|ce)|increased)(?: of)?(?: the)?(?: central| lung| pulmonary){0,3}"
        r" (?:vascular|vasculature|vascularity)(?! redistribution)",
    ),
    "Consolidation": _phrases(r"consolidat\w+"),
    "Pneumonia": _phrases(
        r"(?:broncho)?pneumoni(?:a|as|c|tis)",
        r"infect(?:ion|ions|ious)(?: process| etiology| disease)?",
    ),
    "Atelectasis": _phrases(
        r"atelect\w+",
        r"(?:lung|lobar|lobe|segmental|partial|complete|right|left|sided)(?: \w+)? collapse[ds]?",
        r"collapse[ds]?(?: \w+){0,4} (?:lobes?|lungs?|segments?|base)",
        r"collapse",
    ),
    "Pneumothorax": _phrases(
        r"(?:hydro|hemo)?pneumothora(?:x|ces|xes|xis)",
        r"ptx",
    ),
    "Pleural Effusion": _phrases(
        r"(?:pleural |parapneumonic |layering |subpulmonic |loculated )?effusions?",
        r"(?:pleural|fissural|subpulmonic) fluid(?: collections?)?",
        r"fluid(?: \w+){0,4} (?:pleural space|fissures?)",
        r"hydro(?:pneumo)?thora(?:x|ces)",
        r"hemo(?:pneumo)?thora(?:x|ces)",
        r"empyema\w*",
        r"pleural collections?",
    ),
    "Pleural Other": _phrases(
        r"pleural(?: \w+){0,2} (?:thickening|plaques?|scar\w*|fibrosis|calcifications?|disease|"
        r"abnormalit\w+|lesions?|mass\w*|reaction)",
        r"pleuro ?parenchymal(?: \w+){0,2} (?:scar\w*|thickening|fibrosis|changes?)",
        r"(?:thickening|thickened|calcifi\w+|scarring)(?: of)?(?: the)?(?: \w+)? pleura(?:l)?",
        r"fibrothorax",
        r"apical(?: \w+)? (?:caps?|capping)",
        r"pleural (?:based )?(?:densit\w+|opacit\w+)",
    ),
    "Fracture": _phrases(r"(?:micro)?fractur\w+"),
    "Support Devices": _phrases(
        r"(?:pace ?makers?|pacers?|pacing)(?: (?:device|leads?|wires?|generator)\w*)?",
        r"(?:aicd|icd|defibrillators?|cardioverter)",
        r"(?:central|subclavian|jugular|ij|picc|venous|arterial|vascular|port|dialysis|infusion|"
        r"femoral|ng|og|support|monitoring|hickman)(?: \w+)? lines?",
        r"picc",
        r"lines? and tubes?",
        r"tubes? and lines?",
        r"(?:support|monitoring|cardiac|implanted|indwelling|assist|stimulator|electronic|chamber|"
        r"loop)(?: \w+)? (?:devices?|apparatus|equipment|hardware)",
        r"catheters?",
        r"(?:medi|infusa)?ports?(?: a? ?caths?)?(?= |$|\.|,)",
        r"portacaths?",
        r"(?:chest|endotracheal|et|ng|og|nasogastric|orogastric|enteric|enteral|feeding|gastric|gastrostomy|"
        r"dobb? ?ho?ff|tracheostomy|trach|thoracostomy|drainage|tracheal|pleural)(?: \w+)? tubes?",
        r"(?:ett|ngt|ogt|dobb? ?ho?ff|tracheostomy|trach|iabp|ecmo|lvad)",
        r"swan ganz",
        r"balloon pump",
        r"(?:pleural|chest|pigtail|thoracostomy)(?: \w+)? drains?",
        r"pigtail",
        r"(?:dual|single|biventricular)(?: \w+)? (?:chamber|leads?)",
        r"leads",
        r"(?:pulse |cardiac )?generator",
        r"lead(?= (?:in|over|project\w*|terminat\w*|is|tips?|ends?|extend\w*))",
        r"intubated",
        r"(?:\w+ )?(?:neuro)?stimulators?",
        r"(?:valve|valvular) (?:replacement|prosthes\w+)",
        r"prosthetic(?: \w+)? valves?",
        r"(?:orthopedic|fixation|spinal|fusion|surgical|metallic)?(?: \w+)? ?hardware",
    ),
}
"""By finding; "No Finding" follows from all of them and from `engine.labels.normality`."""

EXCLUDED: dict[str, tuple[re.Pattern[str], ...]] = {
    name: tuple(map(words, patterns))
    for name, patterns in {
        "Enlarged Cardiomediastinum": (
            r"mediastinal (?:lymph\w*|adenopathy|nodes?|clips?|wires?|drains?|shift)(?: \w+){0,6}",
        ),
        "Cardiomegaly": (
            r"cardiac (?:enlargement )?device\w*",
            r"heart failure",
            r"prominent.{0,20} fat pads?",
        ),
        "Lung Lesion": (
            r"calcified(?: \w+){0,3} (?:nodul\w+|mass\w*)",
            r"nodul\w+ (?:\w+ ){0,4}calcified granulom\w+",
            r"(?:thyroid|breast|soft tissue|osseous|bone|bony|adrenal|hiatal|lytic|sclerotic|rib)"
            r" (?:mass\w*|nodul\w+|lesions?)",
            r"mass effect",
            r"(?:history|known|metastatic)(?: of)?(?: \w+){0,2} (?:carcinoma|malignancy)",
        ),
        "Lung Opacity": (
            r"bon[ey]\w* densit\w+",
            r"(?:bone|breast|soft tissue|metallic|metal|calcific|calcified|calcium|fat)"
            r"(?: \w+)? densit\w+",
            r"interlobar",
        ),
        "Edema": (
            r"(?:nasal|chest|head|sinus) congestion",
            r"soft tissue edema",
            r"peripheral edema",
        ),
        "Pneumonia": (r"granulomatous infect\w+", r"(?:signs?|symptoms?)(?: \w+)? infection"),
        "Atelectasis": (
            r"(?:vertebral|body|spine|disc|bod(?:y|ies)|height|endplate|femoral)(?: \w+){0,4}"
            r" collapse[ds]?",
            r"collapse[ds]?(?: \w+){0,4} (?:vertebra\w*|bod(?:y|ies)|endplates?)",
        ),
        "Pleural Effusion": (r"pericardial effusions?", r"joint effusions?"),
        "Support Devices": (
            r"(?:left|right) (?:ventricular|atrial) leads?",
            r"lines? of (?:the )?\w+",
            r"air ?ports?",
            r"(?:gravity|midline|pleural|fissure|skin|paratracheal|suture|fracture) lines?",
        ),
    }.items()
}
"""Stretches of text that look like a mention and are none."""
