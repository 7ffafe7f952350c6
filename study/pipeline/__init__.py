"""A study as a list of phases, and everything that they share. The list is in phases.py."""
