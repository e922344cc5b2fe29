"""Comparisons of several arms over several seeds: run, evaluate, score and report them."""
