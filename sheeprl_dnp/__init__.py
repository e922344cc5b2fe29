"""Dream-&-Ponder: DreamerV3 with a pondering actor, a plugin of SheepRL."""
