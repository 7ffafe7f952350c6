"""What a study is about to do, in a few lines."""

from typing import Any

from results.formatting import count
from study.config import StudyConfig
from study.pipeline.run_context import RunContext
from study.recipe import Recipe
from study.training.models import MODELS


def describe(context: RunContext[Any]) -> str:
    """The plan of a study or a reproduction, for a person."""
    lines = _study(context) if isinstance(context.config, StudyConfig) else _reproduction(context)
    lines += _ignored(context)
    if context.dataset.name == "synthetic":
        lines.append("Data:   synthetic images; no number below says anything about real ones.")
    lines += [f"Data:   {note}" for note in context.dataset.notes]
    if context.slots.reason:
        lines.append(f"        {context.slots.reason}.")
    return "\n".join(lines)


def _ignored(context: RunContext[Any]) -> list[str]:
    """Which hyperparameters of other networks mean nothing to the one that was named; a trainer may use any."""
    if context.config.model is None or context.config.trainer is not None:
        return []
    recipe = Recipe.from_dict(context.study.content["base"])
    of_networks = {name for family in MODELS.values() for name in family.uses}
    names = [name for name in recipe.unused_fields() if name in of_networks]
    return [f"Network: {recipe.model} ignores {', '.join(names)}; results show these as not used."] if names else []


def _share(context: RunContext[Any]) -> str:
    slots = context.slots
    return f"{slots.count} at once on {slots.cpus:g} CPU" + (f" and {slots.gpus:g} GPU" if slots.gpus else "") + " each"


def _reproduction(context: RunContext[Any]) -> list[str]:
    config = context.config
    epochs = context.study.content["max_epochs"]
    return [f"Training: {config.recipe}, {count(config.seeds, 'seed')}, {count(epochs, 'epoch')}, {_share(context)}."]


def _study(context: RunContext[Any]) -> list[str]:
    config, content = context.config, context.study.content
    seeds = "one seed" if config.final_seeds == 1 else f"{config.final_seeds} seeds"
    rungs = ", ".join(map(str, content["rungs"]))
    compared = f", compared after {rungs}" if rungs and config.scheduler != "none" else ""
    lines = [
        f"Search: {count(config.samples, 'trial')} from space {content['space']}, {_share(context)}.",
        f"        {count(config.max_epochs, 'epoch')} each{compared}: "
        f"{count(config.samples * config.max_epochs, 'epoch')} if nothing is stopped.",
    ]
    if config.fix:
        lines.append(f"        In all of them {', '.join(f'{name} is {value}' for name, value in config.fix.items())}.")
    if warm := content["warm_start"]:
        known, best = len(warm["trials"]), len(warm.get("leaders", []))
        said = [f"knows {count(known, 'trial')}"] if known else []
        said += [f"begins near the {count(best, 'best trial')}"] if best else []
        lines.append(f"        The sampler {' and '.join(said)} of {warm['run']}.")
    if config.audit:
        lines.append(f"Audit:  {count(config.audit, 'stopped trial')}, trained to the end.")
    if config.control:
        lines.append("Control: random search with as many epochs.")
    if config.tune_baseline:
        lines.append("Tuning of the baseline's lr and batch size, with as many epochs.")
    if config.finalists > 1:
        folds = "" if config.folds == 1 else f", on each of {config.folds} folds"
        epochs = count(config.final_epochs, "epoch")
        lines.append(f"Finalists: the {config.finalists} best, {epochs}, {seeds} each{folds}.")
    lines.append(f"Final:  winner and baseline, {count(config.final_epochs, 'epoch')}, {seeds} each.")
    if config.replicates:
        lines.append(_replicates(context))
    return lines


def _replicates(context: RunContext[Any]) -> str:
    config = context.config
    trainings = config.final_seeds * (2 + (config.finalists * config.folds if config.finalists > 1 else 0))
    most = config.replicates * (config.samples * config.max_epochs + trainings * config.final_epochs)
    what = "other seeds and splits" if context.dataset.validation is None else "other seeds; the data set has one split"
    again = "search and choice once more" if config.replicates == 1 else f"{config.replicates} times search and choice"
    return f"Replicates: {again}, with {what}: at most {count(most, 'epoch')}."
