"""What a smaller or larger search would have found: the expected best validation value against its cost.

run = results.load("runs/my-study")
results.budget_curve(run)
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from results.run import Run

NEGLIGIBLE = 45.0  # exp(-45) is far below what a float64 near 1 can show


def expected_best(values: ArrayLike) -> NDArray[np.float64]:
    """The expected largest of n values drawn at random, without replacement, from these N; for n = 1 to N.

    The unbiased estimator of Tang et al. 2020 (arXiv:2004.11464): what Dodge et al. 2019 (arXiv:1909.03004) estimate
    with replacement, which is too low. With the values sorted ascending, v(1) to v(N), it is the sum over i of
    v(i) C(i - 1, n - 1) / C(N, n): v(i) is the largest where the other n - 1 come from the i - 1 below it.

    Args:
        values: float [N], larger is better.

    Returns:
        float64 [N]; the last is the largest value.
    """
    from scipy.special import gammaln

    ascending = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ascending)
    log_factorial = gammaln(np.arange(count + 1) + 1.0)  # C(1000, 500) is no float
    found = np.empty(count)
    for n in range(1, count + 1):
        # All n are among the lowest i with a probability of at most (i / N)^n <= exp(-n (N - i) / N).
        i = np.arange(max(n, count - math.ceil(NEGLIGIBLE * count / n)), count + 1)
        below = log_factorial[i - 1] - log_factorial[n - 1] - log_factorial[i - n]
        all_draws = log_factorial[count] - log_factorial[n] - log_factorial[count - n]
        found[n - 1] = np.exp(below - all_draws) @ ascending[i - 1]
    return found


def budget_curve(run: Run) -> pd.DataFrame:
    """The expected best validation value of a search of n trials like these, and what n trials cost.

    It takes the trials for independent draws from one distribution. That holds for random search (`run.control`); of a
    search that learns it describes the average of orders that it did not take. A stopped trial counts with the last
    value that it had; one without a value costs and finds nothing.

    Returns:
        Index `trials` (n, int64, from 1). Columns `expected_best` (in the metric's own unit), `epochs` (float64, mean
        epochs of a trial times n) and `seconds` (of training and validation, the same way). Empty without any value.
    """
    sign = 1.0 if run.metric.maximize else -1.0
    started = run.trials[run.trials["status"] != "running"]
    values = sign * started[run.metric.column].where(~started["status"].isin(["diverged", "failed"]))
    if values.notna().sum() == 0:
        return pd.DataFrame(columns=["expected_best", "epochs", "seconds"], dtype="float64").rename_axis("trials")
    # A trial without a value never is the best of several: it stands below all that have one.
    found = expected_best(values.fillna(values.min()))
    trials = pd.RangeIndex(1, len(found) + 1, name="trials")
    cost = {"epochs": started["epochs"].mean() * trials, "seconds": started["time_total_s"].mean() * trials}
    return pd.DataFrame({"expected_best": sign * found, **cost}, index=trials).astype("float64")
