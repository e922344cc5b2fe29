"""What pondering costs, as ratios to SheepRL's DreamerV3 in the same run: `scripts/benchmark`."""
