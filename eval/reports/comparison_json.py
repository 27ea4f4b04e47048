"""A comparison as JSON, for programs."""

import json
from dataclasses import asdict
from typing import Any

from eval.reports.comparison import Comparison, Contrast

SCHEMA = "rag.eval.comparison/v1"


def comparison_json(found: Comparison) -> str:
    """Numbers as they are, unrounded. Ends in a line feed."""
    content = {
        "schema": SCHEMA,
        "base": {"name": found.base.name, "release": found.base.release.digest},
        "candidate": {"name": found.candidate.name, "release": found.candidate.release.digest},
        "primary": found.primary,
        "settings": [asdict(part) for part in found.settings],
        "metrics": [_contrast(one) for one in found.contrasts],
        "slices": [
            {"tag": one.tag, "questions": one.questions, **({"metric": _contrast(one.contrast)} if one.contrast else {})}
            for one in found.slices
        ],
        "flips": [
            {"id": flip.base.id, "broken": flip.broken, "base": flip.base.label, "candidate": flip.candidate.label} for flip in found.flips
        ],
        "unmatched": found.unmatched,
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _contrast(one: Contrast) -> dict[str, Any]:
    return {
        "name": one.metric,
        "higher_is_better": one.higher_is_better,
        "says": one.says,
        "left_out": one.left_out,
        **asdict(one.paired),
        "p_holm": one.p_holm,
    }
