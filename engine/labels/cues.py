"""Negation, hedges and talk of what might be looked for: cues, and how far each reaches.

A cue before a mention reaches it unless a terminator stands between; a cue after a mention must
follow within a few words. Order of judgement: masked cues count for nothing, then "not an
observation", then hedged negations ("cannot exclude"), negations, hedges.
"""

from __future__ import annotations

import re

from engine.labels.patterns import ABSENT, PRESENT, UNCERTAIN, words

MASKED = words(
    r"no (?:\w+ ){0,3}(?:change|increase|decrease|improvement|progression|difference)s?"
    r"(?: (?:in|of|from|since)\b)?",
    r"without (?:\w+ ){0,3}(?:change|increase|progression)s?(?: in)?",
    r"not (?:only|significantly changed|changed|increased)",
    r"no (?:longer|prior|previous|comparison)",
)
"""Looks like a cue and says nothing on presence."""

NOT_OBSERVED = words(
    r"(?:to )?(?:evaluat\w+|assess\w*|exam\w*|screen\w*|check\w*|look|monitor\w*)(?: \w+){0,2}"
    r" for(?: possible| underlying| any)?",
    r"(?:to )?(?:rule|r) ?(?:out|o)",
    r"(?:prior |past |previous )?history of(?: prior)?",
    r"(?:sensitivity|sensitive) (?:to|for)(?: detect\w*)?(?: of)?",
    r"(?:correlat\w+|concern)(?: \w+){0,4} (?:for|to)(?: any)?",
    r"(?:detection|follow ?up|work ?up|treatment|treated) (?:of|for)",
)

HEDGED_NEGATION_BEFORE = words(
    r"(?:can ?not|can't|could not|not|difficult to|hard to|impossible to|unable to)"
    r"(?: be)?(?: \w+)? (?:exclud\w+|rul\w+ out)",
    r"does not (?:\w+ )?exclude",
    r"not (?:entirely|completely|definitely|definitively) exclud\w+",
    r"no (?:definite|definitive) (?:way|exclusion)",
)
HEDGED_NEGATION_AFTER = words(
    r"(?:can ?not|can't|could not|not|difficult to|hard to)(?: be)?(?: \w+){0,2}"
    r" (?:exclud\w+|rul\w+ out)",
    r"(?:is|are|be) (?:not|difficult to)(?: \w+)? exclud\w+",
    r"not (?:entirely |completely |definitely )?exclud\w+",
)

NEGATION_BEFORE = words(
    r"no",
    r"not",
    r"non",
    r"without",
    r"neither",
    r"nor",
    r"absen(?:t|ce)(?: of)?",
    r"negative(?: for)?",
    r"free (?:of|from)",
    r"clear of",
    r"(?:lack|denies|lacking)(?: of)?",
    r"resol(?:ved|ution of)(?: the)?",
    r"rather than",
    r"(?:interval )?(?:removal of|removed)",
    r"excludes|excluded|excluding",
    r"ruled out",
)
UNSEEN = words(
    r"(?:is|are|was|were|has|have)(?: been)? (?:not|no longer) (?:\w+ )?"
    r"(?:seen|identified|visuali[sz]ed|appreciated|present|evident|demonstrated|noted|apparent"
    r"|detected|suspected|visible|found)",
    r"not (?:seen|identified|visuali[sz]ed|present|evident|demonstrated|appreciated|suspected)",
    r"(?:has|have|had)?(?: now| since| completely| nearly)* (?:resolved|cleared)",
    r"(?:appears? |is |are )?within (?:the )?limits of normal",
    r"(?:is|are) (?:absent|excluded|ruled out|negative)",
)
GONE = words(
    r"(?:has|have) been (?:\w+ )?(?:removed|withdrawn|evacuated)",
    r"removed",
)

HEDGE_BEFORE = words(
    r"(?:possib|probab)(?:le|ly|ility)(?: of)?",
    r"(?:may|might|could|would)(?: \w+)?(?: be)?(?: \w+)?(?: secondary to| due to| represent\w*)?",
    r"(?:possibly|probably|likely) (?:secondary|due) to",
    r"(?:most |more |less )?likely",
    r"unlikely",
    r"likelihood",
    r"suspect\w*",
    r"suspicio\w*(?: for| of)?",
    r"(?:concern\w*|worrisome|question\w*)(?: for| of)?",
    r"suggest\w*(?: of)?",
    r"(?:potential|potentially|presum\w+|perhaps|equivocal|favou?r\w*)",
    r"consider\w*",
    r"differential",
    r"versus",
    r"vs",
    r"(?:if|whether|unclear|uncertain|indeterminate)",
    r"(?:appear|seem)(?:s|ed)? to",
    r"(?:cannot|can not|can't) be distinguished from",
    r"\?",
)
HEDGE_AFTER = words(
    r"(?:is|are|be|remains?|also)? ?(?:possib(?:le|ility)|probable|likely|suspected|questioned"
    r"|questionable|considered|favou?red|uncertain|equivocal|unlikely|a consideration"
    r"|a possibility|less likely|not likely|in the differential|another consideration)",
    r"(?:versus|vs)",
    r"(?:should|may|could|might|can) be (?:considered|present|possible)",
    r"\?",
)

_TERMINATOR = words(
    r"but",
    r"however",
    r"although",
    r"(?:even )?though",
    r"except\w*",
    r"aside from",
    r"apart from",
    r"other than",
    r"besides",
    r"whereas",
    r"while",
    r"yet",
    r"which",
    r"(?:secondary|due) to",
    r"because",
    r"since",
    r"(?:and |, ?)(?:the|there|an?|otherwise)",
    r"there (?:is|are)",
    r"with (?!no|evidence|definite)(?:\w+ )?(?:stable|small|mild|moderate|large|minimal|residual"
    r"|persistent|unchanged|new|interval|left|right|associated|some)",
)
_FRESH_START = re.compile(
    r",\s+(?!(?:or|nor|and)\b)(?:small|mild|moderate|minimal|trace|tiny|left|right|bilateral|stable"
    r"|unchanged|persistent|possibl[ey]|probabl[ey]|likely|questionable|may|mildly|improved"
    r"|increased|heart|cardiac|lungs?)\b(?!.*\b(?:or|nor)\b)"
)
_NEW_CLAUSE = re.compile(
    r",\s+(?!(?:or|nor)\b)(?=[^,]*\b(?:is|are|has|have|remains?|appears?|demonstrates?|shows?)\b)"
)
_REACH_AFTER = re.compile(r"(?:\s+[\w']+){0,8}?\s+|\s*")

REACH = 400
"""Characters that a cue can reach at most: labelling takes time in proportion to the text."""


def blank_out(sentence: str, pattern: re.Pattern[str]) -> str:
    """Return the sentence with what matches replaced by a neutral word of the same length."""
    return pattern.sub(lambda found: "x" * (found.end() - found.start()), sentence)


def _stopped(between: str) -> bool:
    """Tell whether a cue before this stretch ends before its end."""
    if _TERMINATOR.search(between) or ";" in between or ":" in between:
        return True
    return bool(_FRESH_START.search(between) or _NEW_CLAUSE.search(between))


def _reaches(cue: re.Pattern[str], sentence: str, end: int) -> bool:
    """Tell whether a cue stands before ``end`` with nothing between that stops it.

    What stops the nearest cue stops those before it, so that one decides.
    """
    found = list(cue.finditer(sentence, max(0, end - REACH), end))
    return bool(found) and not _stopped(sentence[found[-1].end() : end])


def _follows(cue: re.Pattern[str], sentence: str, end: int) -> bool:
    """Tell whether a cue follows ``end`` within a few words of the same clause."""
    return any(
        _REACH_AFTER.fullmatch(sentence[end : found.start()]) is not None
        and not _TERMINATOR.search(sentence, end, found.start())
        for found in cue.finditer(sentence, end, end + REACH)
    )


def judge(sentence: str, start: int, end: int, *, device: bool = False) -> float | None:
    """Return the state of ``sentence[start:end]``, or None where it is not an observation.

    Parameters
    ----------
    sentence
        One flattened sentence, masked cues already blanked out.
    device
        What is "not seen" of a device is its tip; only "removed" denies the device.
    """
    if _reaches(NOT_OBSERVED, sentence, start):
        return None
    denied_after = _follows(GONE, sentence, end) or (not device and _follows(UNSEEN, sentence, end))
    verdicts = (
        (UNCERTAIN, _reaches(HEDGED_NEGATION_BEFORE, sentence, end)),
        (UNCERTAIN, _follows(HEDGED_NEGATION_AFTER, sentence, end)),
        (ABSENT, _reaches(NEGATION_BEFORE, sentence, end) or denied_after),
        (UNCERTAIN, _reaches(HEDGE_BEFORE, sentence, end)),
        (UNCERTAIN, _follows(HEDGE_AFTER, sentence, end)),
    )
    return next((state for state, holds in verdicts if holds), PRESENT)
