"""A run in pictures: each function takes a Run and gives a plotly figure, for a notebook, an export or the report.

    from results import load_run, plots
    plots.learning_curves(load_run("runs/my-study")).show()

Figures are drawn in light colours; `palette.on_dark` gives the same one for a dark page. A metric that is a share, such
as accuracy, is a fraction in the tables and a percentage here.
"""

from results.plots.figure import NothingToPlot, class_names
from results.plots.final import accuracies, calibration, confusion_matrix, final_losses, per_class
from results.plots.hyperparameters import effect, importance, parallel_coordinates
from results.plots.search import accuracy_against_cost, incumbent, learning_curves

__all__ = [
    "NothingToPlot",
    "accuracies",
    "accuracy_against_cost",
    "calibration",
    "class_names",
    "confusion_matrix",
    "effect",
    "final_losses",
    "importance",
    "incumbent",
    "learning_curves",
    "parallel_coordinates",
    "per_class",
]
