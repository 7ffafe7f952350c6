"""Numbers that somebody published for a data set; shown beside ours, and used for nothing else."""

from typing import Any

# The publication that BASELINE reproduces: test accuracy after 30 epochs, and mean training loss by epoch.
PUBLISHED: dict[str, dict[str, Any]] = {
    "cifar10": {"published_accuracy": 0.6465, "published_train_loss": {"10": 1.073, "30": 0.528}},
}
