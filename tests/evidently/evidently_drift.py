"""`make evidently`: our distances against those of evidently, where both define the same. It has an environment of its own."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rag_service.drift.categories import category_shift
from rag_service.drift.numbers import number_shift
from rag_service.drift.permuting import permuted_sides

PYTHON = Path(__file__).resolve().parents[2] / ".venv-evidently" / "bin" / "python"
N, M = 400, 300

_ASK = """
import json, sys
import pandas as pd
from evidently.legacy.calculations.stattests import registry
import evidently.legacy.calculations.stattests as tests
from evidently.legacy.core import ColumnType
given = json.load(sys.stdin)
def score(test, kind, name):
    reference, window = pd.Series(given[name][0]), pd.Series(given[name][1])
    return float(test.func(reference, window, kind, 0.1)[0])
print(json.dumps({
    "wasserstein": score(tests.wasserstein_stat_test, ColumnType.Numerical, "numbers"),
    "ks_p": score(tests.ks_stat_test, ColumnType.Numerical, "numbers"),
    "js": score(tests.jensenshannon_stat_test, ColumnType.Categorical, "labels"),
    "psi": score(tests.psi_stat_test, ColumnType.Categorical, "labels"),
    "chi2_p": score(tests.chi_stat_test, ColumnType.Categorical, "labels"),
}))
"""


@pytest.mark.skipif(not PYTHON.exists(), reason="evidently is not installed: `make evidently` installs it")
def test_distances_are_those_of_evidently() -> None:
    random = np.random.default_rng(11)
    numbers = [random.normal(0, 1, N), random.normal(0.2, 1.1, M)]
    labels = [random.choice(["en", "de", "fr"], N, p=[0.8, 0.15, 0.05]), random.choice(["en", "de", "fr"], M, p=[0.7, 0.2, 0.1])]
    given = {"numbers": [side.tolist() for side in numbers], "labels": [side.tolist() for side in labels]}
    made = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", _ASK], input=json.dumps(given), capture_output=True, text=True, timeout=300, check=False
    )
    assert made.returncode == 0, made.stderr[-2000:]
    theirs = json.loads(made.stdout.splitlines()[-1])
    sides = permuted_sides([str(place) for place in range(N)], [str(place) for place in range(M)], draws=4999, seed=1)
    shift, categories = number_shift(np.concatenate(numbers), sides), category_shift([*labels[0], *labels[1]], sides)
    assert shift.wasserstein_sigma == pytest.approx(theirs["wasserstein"])
    assert shift.p_value == pytest.approx(theirs["ks_p"], abs=0.02)
    assert categories.js * np.sqrt(np.log(2)) == pytest.approx(theirs["js"]), "theirs is to base e"
    assert categories.psi == pytest.approx(theirs["psi"])
    assert categories.p_value == pytest.approx(theirs["chi2_p"], abs=0.03)
