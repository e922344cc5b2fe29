"""`scripts/report STUDY`: what a study shows, from its folder alone, as Markdown and PNG, and as JSON and CSV."""

import argparse
import json
from pathlib import Path

from sheeprl_dnp.arguments import command_parser, one_sentence
from sheeprl_dnp.report.figures import save_figures
from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.results import Results, analyse
from sheeprl_dnp.report.tables import load
from sheeprl_dnp.runs import ConfigError, replace_file


def report(study: Path, output: Path) -> Results:
    """Writes `report.md`, `results.json`, `table.csv` and the figures into the folder `output`.

    Raises:
        ConfigError: `study` isn't a study, has no finished run, or the report can't be written.
    """
    results = analyse(load(study))
    try:
        output.mkdir(parents=True, exist_ok=True)
        captions = save_figures(results, output)
        replace_file(output / "results.json", json.dumps(results.as_json(), separators=(",", ":"), ensure_ascii=False))
        replace_file(output / "table.csv", results.main_table().to_csv(index=False, float_format="%.10g"))
        replace_file(output / "report.md", markdown(results, captions))
    except OSError as error:
        raise ConfigError(f"`--output={output}` must be a folder to write in: {error.strerror}.") from error
    return results


EPILOG = """examples:
  scripts/report studies/lights_out                  a study of runs, in studies/lights_out/report
  scripts/report results/lights_out --output /tmp/r  one that is published as tables

Writes report.md (tables of the arms with 95% intervals, differences between their configurations, runs that are missing
or damaged, machines), figures as PNG, all its numbers in results.json, and those of the main table in table.csv: 1 or 2
MB, in less than a minute. Works on a study that isn't finished: it reports the finished runs and names the others.
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser("report", "Reports a study, running or published, from its folder alone.", EPILOG)
    parser.add_argument("study", type=Path, metavar="STUDY", help="the folder of a study, made by scripts/study")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write (default: STUDY/report)")
    return parser.parse_args(arguments)


@one_sentence()
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    output = options.output or options.study / "report"
    results = report(options.study, output)
    finished, planned = len(results.study.finished), len(results.study.runs)
    print(f"{finished} of {planned} runs are finished; {len(results.problems)} problems are in the report:")
    print(output / "report.md")


if __name__ == "__main__":
    main()
