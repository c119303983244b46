"""What stands beyond the thirteen findings: other abnormalities, and words for a normal film."""

from __future__ import annotations

from engine.labels.patterns import words

OTHER = words(
    r"hyper ?(?:inflat|expan|aerat|lucen|disten)\w+",
    r"hypo ?(?:inflat|ventilat|expan|aerat)\w+",
    r"low(?: lung)? volumes?",
    r"shallow inspiration",
    r"emphysem\w*|bullous|bullae?|blebs?|copd|chronic obstructive\w*",
    r"bronchiecta\w+|interstitial lung disease|sarcoid\w*|cysts?|cystic",
    r"granulom\w+|calcifi\w+|calcinosis|calcific",
    r"scar|scars|scarred|scarring|fibro(?:sis|tic)|cicatri\w+|thicken\w+|volume loss",
    r"adenopathy|lymphadenopathy|enlarged(?: \w+){0,3} nodes?|hilar (?:fullness|enlargement)",
    r"pneumoperitoneum|free air|pneumomediastinum|subcutaneous (?:air|emphysema|gas)",
    r"tortuo\w+|ectat\w+|ectasia|uncoil\w+|unfold\w+|atherosclero\w+|aneurysm\w*",
    r"hernia\w*|eventration|elevat\w+|flatten\w+|blunt\w+|shift|deviat\w+|azygos",
    r"scolio\w+|kypho\w+|dextro\w*|levo(?:scolio|curv)\w+|curvature",
    r"degenerat\w+|osteophyt\w*|spondylo\w+|spurring|arthr(?:itis|itic|osis|opathy)",
    r"hyperostosis|osteop\w+|demineral\w+|sclero\w+|lytic|lucen\w+|dislocat\w+",
    r"deform\w+|compress\w+|wedg\w+|height loss|loss of(?: \w+)? height|prominen\w+",
    r"clips?|sternotomy|sutures?|staples?|stents?|surg\w+|mastectomy|cholecystectomy",
    r"bypass|cabg|foreign bod\w+|bullet\w*|shrapnel",
)
"""Any that is not denied rules "No Finding" out."""

NORMAL = words(
    r"normal|unremarkable|clear|negative|within normal limits|intact",
    r"no (?:acute|active|evidence|radiographic|abnormal\w*|significant)(?: \w+){0,5}",
)
"""What a report that found nothing says."""
