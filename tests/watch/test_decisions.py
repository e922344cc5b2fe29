"""What is told of decisions is what the agent computed and what happened, and reading its mind changes nothing."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sheeprl_dnp.accelerators import evaluation_fabric
from sheeprl_dnp.checkpoints import load_config
from sheeprl_dnp.evaluation import Settings, evaluate
from sheeprl_dnp.pictures import HEIGHT, LESS, MORE, NOTHING, Sheet, draw_numbers
from sheeprl_dnp.runs import load_checkpoint
from sheeprl_dnp.watch import page as page_module
from sheeprl_dnp.watch.page import fitting
from sheeprl_dnp.watch.watch import main, watch
from sheeprl_dnp.watch.witness import Episode

from .conftest import AGENTS, picture_of

Agents = Callable[[str], str]
Watched = Callable[[str], tuple[str, list[Episode], int]]


@pytest.mark.parametrize("name", AGENTS)
def test_the_episodes_are_those_of_an_evaluation_in_one_environment(agent: Agents, watched: Watched, name: str) -> None:
    cfg = load_config(agent(name))
    fabric = evaluation_fabric(cfg.fabric)
    fabric.seed_everything(5, verbose=False)
    settings = Settings(checkpoint=agent(name), episodes=3, num_envs=1)
    state, told = load_checkpoint(agent(name)), []
    expected = evaluate(fabric, cfg, state, settings, log_dir="none", on_episode=told.append)["episodes"]
    episodes = watched(name)[1]
    assert [episode.record for episode in episodes] == expected == told
    for episode in episodes:
        assert [decision.number for decision in episode.decisions] == list(range(1, episode.record["length"] + 1))
        assert sum(decision.reward for decision in episode.decisions) == pytest.approx(episode.record["return"])
        taken = [decision.taken for decision in episode.decisions]
        assert sum(taken) / len(taken) == pytest.approx(episode.record["ponder_steps"])


def test_an_agent_that_never_halts_is_said_to_take_all_its_steps(agent: Agents, watched: Watched) -> None:
    assert "· ponder steps: 4<" in watched("fixed")[0] and "· ponder steps: sample<" in watched("refine")[0]
    checkpoint = agent("fixed")
    cfg, state = load_config(checkpoint), load_checkpoint(checkpoint)
    settings = Settings(checkpoint=checkpoint, episodes=2, num_envs=2, dream=2)
    ahead = evaluate(evaluation_fabric(cfg.fabric), cfg, state, settings, log_dir="none", on_episode=lambda _: None)
    assert ahead["mean_ponder_steps"] == ahead["steps"] == 4


def entropy(probs: list[float]) -> float:
    return -sum(p * math.log(p) for p in probs if p)


def divergence(probs: list[float], others: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(probs, others, strict=True) if p)


@pytest.mark.parametrize("name", ["dream", "refine", "fixed", "dreamer_v3"])
def test_policies_and_halting_are_distributions_with_their_measures(watched: Watched, name: str) -> None:
    pondered = 1 if name == "dreamer_v3" else 4
    for decision in (decision for episode in watched(name)[1] for decision in episode.decisions):
        assert len(decision.steps) == pondered
        policies = [step.heads[0] for step in decision.steps]
        for step, probs in zip(decision.steps, policies, strict=True):
            assert sum(probs) == pytest.approx(1, abs=1e-5)
            assert step.entropy == pytest.approx(entropy(probs), abs=1e-4)
        assert decision.change == pytest.approx(divergence(policies[decision.taken - 1], policies[0]), abs=1e-4)
        assert sum(step.halting for step in decision.steps if step.halting is not None) == pytest.approx(1, abs=1e-5)
        dreaming = [i for i, step in enumerate(decision.steps, 1) if step.dream]
        assert dreaming == ([4] if name == "fixed" else list(range(1, pondered + 1)))
        assert [step.looked_at is not None for step in decision.steps] == [
            name == "dream" and n > 0 for n in range(pondered)
        ]
        assert decision.surprise > 0


def test_a_dream_step_changes_the_policy_by_the_gain_of_what_it_looked_at(agent: Agents, watched: Watched) -> None:
    decision = watched("dream")[1][0].decisions[0]
    first, second = (np.log(step.heads[0]) for step in decision.steps[:2])
    looked_at = decision.steps[1].looked_at
    chosen = int(np.argmax(first))
    assert looked_at.action == f"r{chosen // 3 + 1} c{chosen % 3 + 1}"
    others = np.delete(second - first, chosen)
    kappa = float(load_checkpoint(agent("dream"))["actor"]["ponder.step_module.log_kappa"].exp())
    np.testing.assert_allclose(others, others[0], atol=1e-4)
    assert (second - first)[chosen] - others[0] == pytest.approx(kappa * looked_at.gain, abs=1e-3)


def test_films_show_what_followed(watched: Watched) -> None:
    for decisions in (episode.decisions for episode in watched("dream")[1]):
        for i, decision in enumerate(decisions):
            left = decisions[i : i + 5]  # the horizon of this agent
            assert len(decision.happened) == len(decision.foreseen) == len(left)
            assert [frame.reward for frame in decision.happened] == [d.reward for d in left]
            assert [frame.goes_on for frame in decision.happened] == [float(not d.ends) for d in left]
            actions = [frame.action for frame in decision.happened]
            assert actions == [frame.action for frame in decision.foreseen]
            pressed = int(decision.action.argmax())
            assert actions[0] == f"r{pressed // 3 + 1} c{pressed % 3 + 1}"
            for frame, following in zip(decision.happened, decisions[i + 1 :], strict=False):
                seen = picture_of(following.sheet, following.sees)
                np.testing.assert_array_equal(picture_of(frame.sheet, frame.picture), seen)
        # A press toggles five lights at most, so that what is seen after the last one is another board
        last = decisions[-1]
        after = picture_of(last.happened[0].sheet, last.happened[0].picture)
        assert (after != picture_of(last.sheet, last.sees)).any()


def test_continuous_policies_are_means_and_spreads(watched: Watched) -> None:
    for step in watched("continuous")[1][0].decisions[0].steps:
        ((mean, spread),) = step.spreads
        assert -1 <= mean <= 1 and spread > 0 and not step.heads
        assert step.entropy == pytest.approx(0.5 * math.log(2 * math.pi * math.e * spread**2), abs=1e-4)


def test_forced_steps_are_taken_and_shown_beyond_those_of_the_training(agent: Agents) -> None:
    for decision in watch(agent("refine"), episodes=1, steps=6)[1][0].decisions:
        assert (decision.taken, len(decision.steps)) == (6, 6)
        assert [step.halting is None for step in decision.steps] == [False] * 4 + [True] * 2


def test_some_decisions_of_long_episodes(agent: Agents, watched: Watched) -> None:
    whole = watched("refine")[1][0].decisions
    part = watch(agent("refine"), episodes=1, seed=5, decisions=range(2, 4))[1][0].decisions
    assert [decision.number for decision in part] == [2, 3]
    assert [d.change for d in part] == [d.change for d in whole[1:3]]
    assert [len(d.happened) for d in part] == [2, 1]  # as far as the page knows


def test_as_many_decisions_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "LIMIT", page_module.FRAME + 100)
    assert fitting([[30, 30], [20, 20, 20]]) == 2
    assert fitting([[30, 30], [20, 20, 1]]) == 2
    assert fitting([[30, 29], [20, 20, 1]]) == 3
    assert fitting([[300]]) == 1


def test_a_page_that_is_too_large_names_the_option(
    agent: Agents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(page_module, "LIMIT", page_module.FRAME)
    main([agent("dream"), "--episodes", "1", "--output", str(tmp_path / "page.html")])
    assert "1 decisions of each episode are 10 MB: --decisions=2-2 has the next ones" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().count("<template") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "shuffled"], "`--steps=shuffled` is for several environments"),
        (["--output", "{folder}/none/page.html"], "none/page.html` must be a file, in a folder that exists"),
        (["--output", "{folder}"], "must be a file, in a folder that exists"),
        (["--decisions", "901-950", "--episodes", "1"], "`--decisions=901-950`: the longest episode has"),
        (["--decisions", "0"], "'0' is not a number from 1"),
        (["--decisions", "7-3"], "'7-3' is not a number from 1, or a first and a last one"),
    ],
)
def test_bad_input_is_one_sentence(
    agent: Agents, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([agent("dream"), *(argument.format(folder=tmp_path) for argument in arguments)])
    assert message in str(stopped.value) + capsys.readouterr().err


def test_numbers_are_bars_or_colours() -> None:
    image = draw_numbers(np.array([1.0, -0.5, 0.0]))
    assert image.shape == (HEIGHT, 63, 3)
    column = [image[:, 21 * i + 10] for i in range(3)]
    assert (column[0][: HEIGHT // 2 - 1] == MORE).all() and (column[0][HEIGHT // 2 + 1 :] == NOTHING).all()
    assert (column[1] == LESS).all(1).sum() == pytest.approx(HEIGHT / 4, abs=1)
    assert {tuple(pixel) for pixel in column[2]} == {NOTHING, (150, 150, 150)}
    many = draw_numbers(np.array([1.0, -1.0, *np.zeros(98)]))
    assert tuple(many[0, 0]) == MORE and tuple(many[0, 7]) == LESS and tuple(many[-1, -1]) == NOTHING


def test_a_sheet_has_each_picture_once() -> None:
    sheet, rng = Sheet(), np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (5, 7, 3), np.uint8) for _ in range(11)]
    assert [sheet.add(picture) for picture in pictures + pictures[:2]] == [*range(11), 0, 1]
