"""A tuning of two arms on Lights Out, as its file has it."""

from typing import Any

ENT_COEF, LR, CRITIC_LR = "algo.actor.ent_coef", "algo.actor.optimizer.lr", "algo.critic.optimizer.lr"
MAX_HALTS = "algo.ponder.max_halts"
SHARED = {
    ENT_COEF: {"low": "1e-4", "high": "3e-2", "log": True},  # as PyYAML reads 1e-4
    LR: {"low": 1e-4, "high": 3e-3, "log": True, "also": [CRITIC_LR]},
}
STUDY = {
    "arms": [{"label": "Dreamer V3", "exp": "dnp_lights_out_baseline"}, {"label": "D&P", "exp": "dnp_lights_out"}],
    "seeds": [1, 2],
}
TUNING = {
    "study": STUDY,
    "trials": 6,
    # The keys that arms share come first, whatever their place here
    "space": {MAX_HALTS: {"low": 2, "high": 6, "integer": True}, **SHARED},
}


def changed(**keys: Any) -> dict[str, Any]:
    return {**TUNING, **keys}
