"""Reads a study, running or published, and says what it shows."""
