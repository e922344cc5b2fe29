"""`scripts/benchmark`: the cost of pondering as ratios to SheepRL's DreamerV3, measured in the same run."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sheeprl_dnp.arguments import count, numbers
from sheeprl_dnp.benchmark.agents import SIZES, Settings, build_agent, compose_agent, variants
from sheeprl_dnp.benchmark.gradient_step import growth_exponents, measure_gradient_steps
from sheeprl_dnp.benchmark.loss_code import loss_code
from sheeprl_dnp.benchmark.player import measure_player
from sheeprl_dnp.benchmark.report import growth_figure, text
from sheeprl_dnp.benchmark.timing import seconds_of, spread
from sheeprl_dnp.benchmark.training import measure_training
from sheeprl_dnp.machine import describe_machine
from sheeprl_dnp.runs import ConfigError, write_json

PARTS = ("gradient_step", "player", "training")
TURN = 0.8  # seconds of a turn of gradient steps, at least
PLAYER_TURN = 0.1  # seconds of a turn of the player, at least
EPILOG = """
examples:
  scripts/benchmark                                          for two CPU cores: within ten minutes
  scripts/benchmark --json > benchmark.json                  for machines; the object `ratios` has the main figures
  scripts/benchmark --parts player --rounds 10
  scripts/benchmark --size S --device cuda --precision bf16-mixed --compile --max-halts 1,4,8 --output results/gpu
  scripts/benchmark algo.ponder.lambda_p=0.1                 with agents that ponder longer

Ratios are medians over rounds, in which what is compared takes turns: other work on the machine changes them little.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Measures what pondering costs: gradient steps, player and training, against SheepRL's DreamerV3.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cuda = torch.cuda.is_available()
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of Hydra, for all agents")
    parser.add_argument("--size", choices=SIZES, default="small", help="small: XS for two CPU cores (default: small)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if cuda else "cpu", help="cuda if there is one"
    )
    parser.add_argument(
        "--precision", default="32-true", help="of Lightning Fabric, e.g. bf16-mixed (default: 32-true)"
    )
    parser.add_argument("--compile", action="store_true", help="the phases of learning compiled (`algo.compile`)")
    parser.add_argument("--max-halts", type=numbers, default=(1, 2, 4, 8, 16), help="default: 1,2,4,8,16")
    parser.add_argument("--rounds", type=count, default=3, help="default: 3")
    parser.add_argument("--parts", type=parts, default=PARTS, help=f"default: {','.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="prints JSON alone")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="also writes benchmark.json, benchmark.md, growth.png"
    )
    return parser.parse_intermixed_args(arguments)


def parts(value: str) -> tuple[str, ...]:
    chosen = tuple(value.split(","))
    if unknown := [part for part in chosen if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return chosen


def settings_of(options: argparse.Namespace) -> Settings:
    """What all agents have in common.

    Raises:
        ConfigError: what is asked for can't be measured.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`--device=cuda`: PyTorch finds no GPU here; leave it out, or ask for `cpu`.")
    if 0 in options.max_halts or len(set(options.max_halts)) < len(options.max_halts):
        raise ConfigError(
            f"`--max-halts={','.join(map(str, options.max_halts))}` must be numbers of ponder steps from 1, each once."
        )
    settings = Settings(options.size, options.device, options.precision, options.compile, tuple(options.overrides))
    for max_halts in (None, *options.max_halts):
        compose_agent(settings, max_halts)
    return settings


def measure(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """All that was asked for, as it is written to `benchmark.json`."""
    start = time.perf_counter()
    device = torch.device(settings.device)
    results: dict[str, Any] = {
        "settings": {
            **vars(settings),
            "threads": torch.get_num_threads(),
            "max_halts": options.max_halts,
            "rounds": options.rounds,
        },
        "machine": describe_machine(),
    }
    if "training" in options.parts:
        progress("training")
        results["training"] = measure_training(settings.device, settings.precision)
    if {"gradient_step", "player"} & set(options.parts):
        progress("agents")
        results |= measure_agents(options, settings, device)
    results["ratios"] = ratios(results)
    results["seconds"] = time.perf_counter() - start
    return results


def measure_agents(options: argparse.Namespace, settings: Settings, device: torch.device) -> dict[str, Any]:
    baseline = build_agent(settings, None)
    chosen = variants(options.max_halts, baseline.learner.action_space.n)
    agents = {(step, n): build_agent(settings, n, step) for step, n in sorted({(v.step, v.max_halts) for v in chosen})}
    results, most = {}, max(n for n in options.max_halts if n <= 8 or n == min(options.max_halts))
    if "gradient_step" in options.parts:
        turns = {"rounds": options.rounds, "turn": TURN, "device": device, "on_progress": progress}
        results["gradient_step"] = measure_gradient_steps(baseline, agents, chosen, **turns)
        if most > 1:
            code = loss_code(agents["refine", most], device)
            code()
            step = results["gradient_step"][f"n{most}_all"]["seconds"]["median"]
            shares = [seconds_of(code, device) / step for _ in range(10)]
            results["loss_code_share"] = spread(shares)._asdict()
    if "player" in options.parts:
        halting = [n for n in (1, 2, 4, 8) if n <= most] + ["sample"]
        pondering = {step: agent for (step, n), agent in agents.items() if n == most}
        turns = {"rounds": 3 * options.rounds, "turn": PLAYER_TURN, "device": device, "on_progress": progress}
        results["player"] = measure_player(baseline, pondering, halting=halting, **turns)
    return results


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """The main figures: each variant's time, its bound, the growth, the player, the code of the loss."""
    main: dict[str, float] = {}
    if steps := results.get("gradient_step"):
        for name, entry in steps.items():
            if name != "dreamer_v3":
                main[name] = entry["ratio"]["median"]
                main[f"{name}_bound"] = entry["bound"]
        main |= growth_exponents(steps)
    if share := results.get("loss_code_share"):
        main["loss_code_share"] = share["median"]
    if player := results.get("player"):
        rules = {rule: entry["ratio"]["median"] for rule, entry in player["1"].items() if rule != "dreamer_v3"}
        main |= {f"player_{rule}": ratio for rule, ratio in rules.items()}
    if training := results.get("training"):
        main["training"] = training["ratio"]
    return main


def progress(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def save(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "benchmark.json", results)
    (folder / "benchmark.md").write_text(text(results))
    if "gradient_step" in results:
        growth_figure(results).savefig(folder / "growth.png")


def main(arguments: Sequence[str] | None = None) -> int:
    warnings.filterwarnings("ignore", module="torch.profiler")
    options = parse_arguments(arguments)
    try:
        results = measure(options, settings_of(options))
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2) if options.json else text(results))
    if options.output:
        save(results, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
