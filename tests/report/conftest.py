"""Made-up studies that are reported."""

from pathlib import Path

import pytest

from sheeprl_dnp.report.results import Results

from .synthetic import copy_of, make_study, report_of


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study on Crafter, not to be changed."""
    return make_study(tmp_path_factory.mktemp("whole") / "study")


@pytest.fixture(scope="session")
def results(whole: Path) -> Results:
    """Those of that study, which has its report in its folder."""
    return report_of(whole)


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    """One without a report, to be changed."""
    return copy_of(whole, tmp_path / "study")


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on another environment, whose episodes have a difficulty, not to be changed."""
    return make_study(tmp_path_factory.mktemp("graded") / "study", budget=4000, game="lights_out")
