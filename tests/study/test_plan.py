"""The plan of a study: a file that people write, and what is said of one that can't be run."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Arm, Evaluations, Plan, read_plan, read_study, write_file
from sheeprl_dnp.study.plan import PLANS, compose_arm, compose_arms, find_plan, hydra_overrides

STEPS = "must be a list of whole numbers from 1 and `shuffled`, each once"
ARMS = "must be one arm or more, each label once"
SEEDS = "must be one whole number or more from 0 to 4294967295, each once"
BAD_PLANS = {
    "arms: 3": f"`arms=3` {ARMS}",
    "arms: ponder\nseeds: [1]": f"`arms=ponder` {ARMS}",
    "arms: []\nseeds: [1]": f"`arms=` {ARMS}",
    "seeds: [1]": "`arms` is missing",
    "arms: [a]": "`seeds` is missing",
    "arms: [a, a]\nseeds: [1]": "the labels `a`, `a` must differ",
    "arms: [{label: A b, exp: a}, {label: 'a: b', exp: b}]\nseeds: [1]": "the labels `A b`, `a: b` must differ",
    "arms: [a, {label: b}]\nseeds: [1]": "`arms[1].exp` is missing: it must be the name of an experiment",
    "arms: [{label: '…', exp: a}]\nseeds: [1]": "`arms[0].label=…` must be the name that people read",
    "arms: [{label: b, exp: a, overrides: c=1}]\nseeds: [1]": "`arms[0].overrides=c=1` must be a list of overrides",
    "arms: [a]\nseeds: [1, 1]": f"`seeds=1,1` {SEEDS}",
    "arms: [a]\nseeds: [[1]]": f"`seeds=[1]` {SEEDS}",
    "arms: [a]\nseeds: [4294967296]": f"`seeds=4294967296` {SEEDS}",
    "arms: [a]\nseeds: [true]": f"`seeds=True` {SEEDS}",
    "arms: [a]\nseeds: [1]\noverrides: b=1": "`overrides=b=1` must be a list of overrides of Hydra, `key=value`",
    "arms: [a]\nseeds: [1]\nepisodes: 3": "`episodes` is not a key: it must be one of `arms`, `seeds`,",
    "arms: [a]\nseeds: [1]\nevaluations: {n: 3}": "`evaluations.n` is not a key: it must be one of `episodes`,",
    "arms: [a]\nseeds: [1]\nevaluations: 3": "`evaluations=3` must be keys with values",
    "arms: [a]\nseeds: [1]\nevaluations: {episodes: none}": "`evaluations.episodes=none` must be a whole number from 1",
    "arms: [a]\nseeds: [1]\nevaluations: {forced_steps: '12'}": f"`evaluations.forced_steps=12` {STEPS}",
    "arms: [a]\nseeds: [1]\nevaluations: {forced_steps: 2}": f"`evaluations.forced_steps=2` {STEPS}",
    "arms: [a]\nseeds: [1]\nevaluations: {forced_steps: shuffled}": f"`evaluations.forced_steps=shuffled` {STEPS}",
    "arms: [a]\nseeds: [1]\nevaluations: {forced_steps: [[1]]}": f"`evaluations.forced_steps=[1]` {STEPS}",
    "arms: [a]\nseeds: [1]\nevaluations: {forced_steps: [2, 2]}": f"`evaluations.forced_steps=2,2` {STEPS}",
    "arms: [a]\nseeds: [1]\nevaluations: {forced_steps: [shuffled], forced_episodes: 1}": (
        "`forced_episodes=1` must be from 2, since `forced_steps` has `shuffled`"
    ),
    "arms: [a]\nseeds: [1]\nevaluations: {dream: [0]}": "`evaluations.dream=0` must be a list of whole numbers from 1",
    "arms: [a]\nseeds: [1]\nevaluations: {dream: [2, 2]}": "`evaluations.dream=2,2` must be a list of whole numbers",
    "arms: [a]\nseeds: [1]\nevaluations: {environments: [a]}": "`evaluations.environments=a` must be names with lists",
    "arms: [a]\nseeds: [1]\nevaluations: {environments: {a/b: [env.x=1]}}": "the name `a/b` must be of letters",
    "arms: [a]\nseeds: [1]\nevaluations: {environments: {far: []}}": "`evaluations.environments.far=` must be one",
    "arms: [a]\nseeds: [1]\nevaluations: {environments: {far: [algo.gamma=1]}}": "gamma=1` must be one override",
    "arms: [a]\nseeds: [1]\nevaluations: {worlds: training}": "`evaluations.worlds=training` must be one of validation",
    "[1]": "must have the keys `arms` and `seeds`",
    "a: [": "is not YAML",
}


@pytest.mark.parametrize("content", BAD_PLANS)
def test_a_plan_that_is_none_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as refused:
        read_study(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"`{path}`") and BAD_PLANS[content] in message and "\n" not in message


def test_a_plan_is_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("arms: [a, {label: B & c, exp: b, overrides: [x=1]}]\nseeds: [3, 1]\nevaluations: {episodes: 7}")
    plan = read_plan(path)
    assert plan.arms == (Arm(label="a", exp="a"), Arm(label="B & c", exp="b", overrides=("x=1",)))
    assert plan.seeds == (3, 1) and plan.evaluations.episodes == 7 and plan.evaluations.forced_episodes == 50
    assert [run.name for run in plan.runs(tmp_path)] == ["a seed 3", "B & c seed 3", "a seed 1", "B & c seed 1"]
    assert plan.runs(tmp_path)[1].folder == tmp_path / "runs" / "B_c" / "seed_3"
    write_file(path, plan)
    assert read_plan(path) == plan
    assert find_plan(str(path)) == plan


def test_each_rule_is_played_in_each_environment() -> None:
    keys = {"episodes": 9, "forced_steps": (1, "shuffled"), "forced_episodes": 5, "dream": (4,)}
    evaluations = Evaluations(**keys, environments={"far": ("env.wrapper.size=5",)})
    baseline = evaluations.of({"name": "dreamer_v3"})
    assert [played.name for played in baseline] == ["default", "dream_4", "default@far", "dream_4@far"]
    assert [played.episodes for played in baseline] == [9, 5, 9, 5]
    assert [played.overrides for played in baseline] == [(), (), *[("env.wrapper.size=5",)] * 2]
    ponder = evaluations.of({"ponder": {"max_halts": 4, "learn_halting": True, "halting": "sample"}})
    assert [played.name for played in ponder[:4]] == ["default", "1", "shuffled", "dream_4"]
    assert [(played.steps, played.dream) for played in ponder[4:]] == [
        (None, None),
        (1, None),
        ("shuffled", None),
        (None, 4),
    ]


BAD_EVALUATIONS = {
    "`evaluations.dream=10` must be at most 9, the number of actions": {"dream": (10,)},
    "`evaluations.forced_steps=16` would dream of more actions than there are": {"forced_steps": (1, 16)},
    "`env.wrapper.difficulty=[1, 99]` must be two whole numbers": {"far": ("env.wrapper.difficulty=[1,99]",)},
    "`evaluations.environments.far=env.wrapper.worlds=training` can't be: an evaluation sets `env.num_envs`": {
        "far": ("env.wrapper.worlds=training",)
    },
    "`evaluations.environments.far=env.wrapper.nothing=1` must be of a key `env.…` that the run has": {
        "far": ("env.wrapper.nothing=1",)
    },
    "`evaluations.environments.far=env.wrapper.size=4` must leave the observations and actions of `dnp_lights_out_": {
        "far": ("env.wrapper.size=4",)
    },
}


@pytest.mark.parametrize("said", BAD_EVALUATIONS)
def test_an_evaluation_that_an_arm_cannot_play_is_refused_before_any_work(said: str) -> None:
    keys = BAD_EVALUATIONS[said]
    evaluations = {"environments": keys} if "far" in keys else keys
    with pytest.raises(ConfigError) as refused:
        compose_arms(Plan(arms=["dnp_lights_out_baseline", "dnp_lights_out_dream"], seeds=[1], evaluations=evaluations))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_an_experiment_by_itself_is_an_arm_with_its_name() -> None:
    arm = Arm.model_validate("dnp_crafter-x")
    assert (arm.label, arm.exp, arm.folder) == ("dnp_crafter-x",) * 3


@pytest.mark.parametrize("name", PLANS)
def test_each_plan_that_comes_along_can_be_trained(name: str) -> None:
    plan = find_plan(name)
    assert isinstance(plan, Plan)
    arms = compose_arms(plan)
    assert list(arms) == plan.labels
    for arm, cfg in zip(plan.arms, arms.values(), strict=True):
        for override in (*plan.overrides, *arm.overrides):
            key, value = override.split("=", 1)
            assert OmegaConf.select(cfg, key.lstrip("+")) == OmegaConf.from_dotlist([f"x={value}"]).x


def test_the_overrides_of_an_arm_come_last() -> None:
    arm = Arm(label="x", exp="dnp_lights_out", overrides=("algo.horizon=5",))
    assert hydra_overrides(arm, ["algo.horizon=3"]) == ["exp=dnp_lights_out", "algo.horizon=3", "algo.horizon=5"]
    assert compose_arm(arm, ["algo.horizon=3"]).algo.horizon == 5
