"""`scripts/benchmark`: the cost of pondering as ratios to SheepRL's DreamerV3, measured in the same run."""

import argparse
import json
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sheeprl_dnp.arguments import command_parser, count, numbers, one_sentence, some_of
from sheeprl_dnp.benchmark.agents import SIZES, Settings
from sheeprl_dnp.benchmark.gpu import measure_gpu
from sheeprl_dnp.benchmark.gradient_step import growth_exponents, measure_gradient_steps
from sheeprl_dnp.benchmark.launches import measure_launches
from sheeprl_dnp.benchmark.player import measure_player
from sheeprl_dnp.benchmark.report import growth_figure, text
from sheeprl_dnp.benchmark.training import measure_training
from sheeprl_dnp.machine import describe_machine
from sheeprl_dnp.runs import ConfigError, write_json

Tables = dict[str, pd.DataFrame]

PARTS = ("launches", "training", "gradient_step", "player")
# By part, those of the ratios in it
NAMES = {
    "gradient_step": "{agent}",
    "player": "player_{agent}",
    "launches": "{agent}_operations",
    "steps": "{size}_{mode}_{agent}",
}
SECONDS_OF_A_MINUTE = 60
EPILOG = """
examples:
  scripts/benchmark                                          for two CPU cores: within fifteen minutes
  scripts/benchmark --json > benchmark.json                  for machines; the object `ratios` has the main figures
  scripts/benchmark --parts launches                         counted, not timed: the same on any machine
  scripts/benchmark --parts player --rounds 10
  scripts/benchmark --device gpu --size S,XL --minutes 8     on a GPU: bf16-mixed, eager and compiled
  scripts/benchmark algo.ponder.lambda_p=0.1                 with agents that ponder longer

Ratios are medians over rounds, in which what is compared takes turns: other work on the machine changes them little.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_parser("benchmark", "Measures what pondering costs against SheepRL's DreamerV3.", EPILOG)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of Hydra, for all agents")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    add("--size", type=some_of(SIZES), help="small: XS for two CPU cores (default: small; on a GPU: S,XL)")
    add("--max-halts", type=numbers, help="default: 1,2,4,8,16; on a GPU: 1,4,8")
    add("--parts", type=some_of(PARTS), default=PARTS, help=f"on the CPU (default: {','.join(PARTS)})")
    add("--rounds", type=count, default=3, help="on the CPU (default: 3)")
    add("--minutes", type=count, default=8, help="on a GPU: stops then, with what it has (default: 8)")
    add("--json", action="store_true", help="prints JSON alone")
    add("--output", type=Path, metavar="FOLDER", help="writes JSON, text and figure (on a GPU: results/benchmark/gpu)")
    options = parser.parse_intermixed_args(arguments)
    gpu = {"size": ("S", "XL"), "max_halts": (1, 4, 8), "output": Path("results/benchmark/gpu")}
    cpu = {"size": ("small",), "max_halts": (1, 2, 4, 8, 16)}
    for name, default in (gpu if options.device == "gpu" else cpu).items():
        setattr(options, name, getattr(options, name) or default)
    return options


def settings_of(options: argparse.Namespace) -> list[Settings]:
    """The settings that are measured: those of each size, on a GPU eager and then compiled.

    Raises:
        ConfigError: what is asked for can't be measured.
    """
    on_gpu, overrides = options.device == "gpu", tuple(options.overrides)
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError("`--device=gpu`: PyTorch finds no GPU here; leave it out, or ask for `cpu`.")
    if not on_gpu and len(options.size) > 1:
        raise ConfigError(f"`--size={','.join(options.size)}`: the CPU takes one size; several are for `--device=gpu`.")
    if 0 in options.max_halts or len(set(options.max_halts)) < len(options.max_halts):
        raise ConfigError(
            f"`--max-halts={','.join(map(str, options.max_halts))}` must be numbers of ponder steps from 1, each once."
        )
    settings = [Settings(size, overrides) for size in options.size]
    if on_gpu:
        modes = [(size, compiled) for compiled in (False, True) for size in options.size]
        settings = [Settings(size, overrides, "cuda", "bf16-mixed", compiled) for size, compiled in modes]
    for setting in settings:
        for ponder in (None, *({"max_halts": n} for n in options.max_halts)):
            setting.config(ponder)
    return settings


def measurements(settings: list[Settings], options: argparse.Namespace) -> Iterator[Tables]:
    """What is measured so far, each time that it is more."""
    if options.device == "gpu":
        yield from measure_gpu(settings, options.max_halts, progress)
        return
    asked, timed = (settings[0], options.max_halts), (settings[0], options.max_halts, options.rounds)
    parts: dict[str, Callable[[], pd.DataFrame]] = {
        "launches": lambda: measure_launches(*asked, progress),
        "training": lambda: measure_training(progress),
        "gradient_step": lambda: measure_gradient_steps(*timed, progress),
        "player": lambda: measure_player(*timed, progress),
    }
    measured: Tables = {}
    for part in PARTS:
        if part in options.parts:
            measured = measured | {part: parts[part]()}
            yield measured


def ratios(results: Tables) -> dict[str, float]:
    """The main figures: those of each agent, the bounds of its time, the growth, the training."""
    main: dict[str, float] = {}
    for part, name in NAMES.items():
        rows = results[part].to_dict("records") if part in results else []
        ours = [row for row in rows if row["agent"] != "dreamer_v3" and row.get("environments", 1) == 1]
        main |= {name.format(**row): row["ratio"] for row in ours}
        main |= {f"{row['agent']}_bound": row["bound"] for row in ours if "bound" in row}
    if "gradient_step" in results:
        main |= growth_exponents(results["gradient_step"])
    if "training" in results:
        rates = results["training"].set_index("agent")["rate"]
        main["training"] = rates["dreamer_v3"] / rates["dreamer_v3_ponder"]
    return main


def progress(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def as_json(results: dict[str, Any]) -> dict[str, Any]:
    """Tables as lists of their rows."""
    tables = {name: part for name, part in results.items() if isinstance(part, pd.DataFrame)}
    return results | {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}


def save(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "benchmark.json", as_json(results))
    (folder / "benchmark.md").write_text(text(results))
    if "gradient_step" in results:
        growth_figure(results["gradient_step"]).savefig(folder / "growth.png")


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raises `KeyboardInterrupt` in what takes longer; 0: never."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    warnings.filterwarnings("ignore", module="torch.profiler")
    options, start = parse_arguments(arguments), time.perf_counter()
    with one_sentence():
        settings = settings_of(options)
    chosen = {"size": ",".join(options.size), "threads": torch.get_num_threads(), "max_halts": options.max_halts}
    about = {"settings": asdict(settings[0]) | chosen | {"rounds": options.rounds}, "machine": describe_machine()}
    results: dict[str, Any] = {}
    try:
        with interrupted_after(SECONDS_OF_A_MINUTE * options.minutes if options.device == "gpu" else 0):
            for measured in measurements(settings, options):
                results = {**about, "ratios": ratios(measured), **measured, "seconds": time.perf_counter() - start}
                if options.output:
                    save(results, options.output)
    except KeyboardInterrupt:
        progress("stopped, with what was measured so far")
    if results:
        print(json.dumps(as_json(results), indent=2) if options.json else text(results))
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
