"""Published numbers beside what a run of the same recipe gave."""

from statistics import mean
from typing import Any

from results.run import Run


def against_publication(run: Run) -> list[dict[str, Any]]:
    """Each published number beside what the seeds of a baseline run gave, as far as it trained.

    Returns:
        Objects of `quantity`, `published`, `mean`, `lowest`, `highest`, `difference` (mean - published), `inside`
        (whether the published number lies within the seeds' range), `values` (one a seed) and `format`. Empty where
        nothing is published for what was trained.
    """
    final = run.final
    if final is None or run.study["kind"] != "baseline" or final.get("published_accuracy") is None:
        return []
    found: list[tuple[str, float, list[float], str]] = []
    for epoch, loss in final.get("published_train_loss", {}).items():
        at = run.final_epochs["training_iteration"] == int(epoch)
        losses = run.final_epochs.loc[at, "train_loss"].tolist()
        found.append((f"training loss, epoch {epoch}", float(loss), losses, "{:.3f}"))
    accuracies = [each["accuracy"] for each in final["recipe_under_test"]["seeds"]]
    quantity = f"test accuracy, epoch {final['final_epochs']}"
    found.append((quantity, float(final["published_accuracy"]), accuracies, "{:.2%}"))
    return [_row(*each) for each in found if each[2]]


def _row(quantity: str, published: float, values: list[float], form: str) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "published": published,
        "mean": mean(values),
        "lowest": min(values),
        "highest": max(values),
        "difference": mean(values) - published,
        "inside": min(values) <= published <= max(values),
        "values": values,
        "format": form,
    }
