"""Makes the stock `sheeprl` commands find Dream-&-Ponder: Hydra loads every module of the namespace `hydra_plugins`."""

import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

SHEEPRL_CONFIGS = {"pkg://sheeprl/configs", "pkg://sheeprl.configs"}  # the command line, the compose API


class SheepRLDnPSearchPath(SearchPathPlugin):
    """Registers the algorithm and appends its configurations in the applications of SheepRL; inert in any other."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if SHEEPRL_CONFIGS.isdisjoint(element.path for element in search_path.get_path()):
            return
        # An evaluation can only be registered for an algorithm that already is
        import sheeprl_dnp.dreamer_v3_ponder.dreamer_v3_ponder
        import sheeprl_dnp.dreamer_v3_ponder.evaluate
        import sheeprl_dnp.dreamer_v3_ponder.utils

        # `sheeprl-registration` looks for what logs the models of an algorithm among SheepRL's own alone
        sys.modules.setdefault("sheeprl.algos.dreamer_v3_ponder.utils", sheeprl_dnp.dreamer_v3_ponder.utils)
        search_path.append(provider="sheeprl-dnp", path="pkg://sheeprl_dnp.configs")
