"""Made-up studies that are reported."""

from pathlib import Path

import pytest

from sheeprl_dnp.report.report import report
from sheeprl_dnp.report.results import Results

from .synthetic import make_study

BUDGET = 10_000


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study on Crafter, not to be changed."""
    return make_study(tmp_path_factory.mktemp("whole") / "study", budget=BUDGET)


@pytest.fixture(scope="session")
def results(whole: Path) -> Results:
    """Those of that study, which has its report in its folder."""
    return report(whole, whole / "report")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """One without a report, to be changed."""
    return make_study(tmp_path / "study", budget=BUDGET)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the values matter."""
    monkeypatch.setattr("sheeprl_dnp.report.statistics.RESAMPLES", 100)
