"""The configurations of Dream-&-Ponder, installed as `sheeprl_dnp.configs` and appended to SheepRL's search path."""
