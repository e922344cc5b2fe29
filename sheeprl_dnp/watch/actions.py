"""The actions of an environment as a person reads them."""

import gymnasium as gym
from torch import Tensor

from sheeprl_dnp.dreamer_v3_ponder.utils import action_sizes


class Actions:
    """The names of the actions of each head, and of an action as the agent gives it, a vector `[A]`.

    An environment may name its actions itself (`action_names`, or Atari's `get_action_meanings`), say in how many
    columns they stand as on a board (`action_columns`), and which are right in the state that it is in
    (`right_actions`, their numbers).
    """

    def __init__(self, env: gym.Env) -> None:
        space, self._env = env.action_space, env.unwrapped
        self.is_continuous = isinstance(space, gym.spaces.Box)
        self.sizes = (sum(action_sizes(space)),) if self.is_continuous else action_sizes(space)
        self.columns = getattr(self._env, "action_columns", None)
        self.names = [self._named(size) for size in self.sizes]

    def _named(self, size: int) -> list[str]:
        meanings: list[str] = getattr(self._env, "get_action_meanings", list)()
        names = getattr(self._env, "action_names", meanings)
        if len(self.sizes) > 1 or len(names) != size:
            names = range(1, size + 1) if self.is_continuous else range(size)
        return [str(name).replace("_", " ") for name in names]

    def right(self) -> list[int] | None:
        """The numbers of the right actions, in the state of the environment; None where it doesn't say."""
        return self._env.right_actions() if hasattr(self._env, "right_actions") else None

    def numbers(self, action: Tensor) -> list[int]:
        """That of each head, of discrete actions."""
        return [int(part.argmax()) for part in action.split(self.sizes)]

    def text(self, action: Tensor) -> str:
        if self.is_continuous:
            return ", ".join(f"{value:.2f}" for value in action.tolist())
        return ", ".join(names[number] for names, number in zip(self.names, self.numbers(action), strict=True))
