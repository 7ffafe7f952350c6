"""The smallest honest study: the published network, and only how it is trained."""

from typing import Any

from search_spaces.pieces import momentum_sgd


def sgd(trial: Any) -> dict[str, Any]:
    return momentum_sgd(trial)
