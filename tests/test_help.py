"""`--help` of each script, before anything is installed, says what its program says."""

import os
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELP = ROOT / "scripts" / "help"
MODULES = {
    "benchmark": "sheeprl_dnp.benchmark.benchmark",
    "evaluate": "sheeprl_dnp.study.evaluate",
    "report": "sheeprl_dnp.report.report",
    "score": "sheeprl_dnp.report.score",
    "study": "sheeprl_dnp.study.study",
    "tune": "sheeprl_dnp.study.tune",
    "watch": "sheeprl_dnp.watch.watch",
}
SCRIPTS = [*MODULES, "demo", "setup", "test"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_a_fresh_clone_answers_at_once(tmp_path: Path, option: str) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for name in SCRIPTS:
        # With no Python to be found, and in a folder with nothing but the scripts
        result = subprocess.run(
            [shutil.which("bash"), f"scripts/{name}", option],
            cwd=tmp_path,
            env={"PATH": os.defpath, "PYTHON": "/nowhere/python"},
            capture_output=True,
            text=True,
        )
        assert (result.returncode, result.stdout) == (0, (HELP / f"{name}.txt").read_text()), result.stderr
        assert f"usage: scripts/{name} " in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scripts"]


@pytest.mark.parametrize("name", MODULES)
def test_it_is_what_the_program_says(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match=r"^0$"):
        import_module(MODULES[name]).main(["--help"])
    said = capsys.readouterr().out
    # The lines that Python breaks differ between its versions
    mend = f"write it anew: COLUMNS=120 .venv/bin/python -m {MODULES[name]} --help > scripts/help/{name}.txt"
    assert (HELP / f"{name}.txt").read_text().split() == said.split(), mend
