"""The winner in use: load it, classify images, describe it in a model card.

from study.winner.model import load
winner = load(Path("runs/NAME"))
"""
