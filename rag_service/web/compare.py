"""Two answers side by side."""

from rag_service.compare import Comparison, NotCompared
from rag_service.kept import Kept
from rag_service.web.differing import shortened
from rag_service.web.pages import ANYBODY, Viewer, render
from rag_service.web.traces import WHY_ABSTAINED, answer_of


def compare_page(a: Kept, b: Kept, comparison: Comparison, *, viewer: Viewer = ANYBODY) -> str:
    prompts = comparison.prompt_diff
    return render(
        "compare.html",
        viewer=viewer,
        section="traces",
        a=a,
        b=b,
        found=comparison,
        prompt_diff=[] if isinstance(prompts, NotCompared) else shortened(prompts),
        why=WHY_ABSTAINED,
        pieces_of=answer_of,
    )
