"""The winner's model card, final/README.md of a run, by Hugging Face's conventions
(https://huggingface.co/docs/hub/model-cards): a YAML header that the Hub reads, then text for people.

    write(Path("runs/NAME"))

Everything in it comes from study.json, final/metrics.json and final/predictions.csv; no image is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

import results
from results.formatting import count, used
from study.data.dataset import ImageSpec
from study.recipe import BASELINE, Recipe
from study.storage.files import atomic_write
from study.winner.model import ROLES, class_names, is_kept, read_records, spec_of

FILE = "README.md"
TEMPLATE = "model_card.md.jinja"
# Where a data set of ours is on the Hub, https://huggingface.co/datasets/<id>.
HUB_DATASETS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
    "svhn": "ufldl-stanford/svhn",
}
# Classes that are said to be recognised worst, and the ratio of class sizes from which classes are called unequal.
WORST_CLASSES, UNEQUAL = 3, 2.0


def write(run_dir: Path) -> Path:
    """Writes the model card of a finished run, in place of an earlier one; returns its path.

    Raises:
        StudyError: the run has no finished final.
    """
    file = run_dir / "final" / FILE
    text = render(run_dir)
    with atomic_write(file) as opened:
        opened.write(text.encode())
    return file


def render(run_dir: Path) -> str:
    """The text of the model card. Raises as `write`."""
    study, final = read_records(run_dir)
    role = next(each for each in ROLES if each in final)
    side, spec = final[role], spec_of(study)
    recipe = Recipe.from_dict(side["recipe"])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("study.winner", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        autoescape=False,
    )
    environment.filters["percent"] = "{:.2%}".format
    environment.filters["cell"] = _cell
    return environment.get_template(TEMPLATE).render(
        header=yaml.safe_dump(_header(study, side), sort_keys=False, allow_unicode=True),
        study=study,
        final=final,
        role=role,
        side=side,
        spec=spec,
        classes=class_names(study),
        recipe=used(side["recipe"], side),
        changed={name: value for name, value in recipe.as_dict().items() if value != BASELINE.as_dict().get(name)},
        costs=side.get("costs"),
        is_kept=is_kept(run_dir, study),
        limits=_limits(run_dir, study, role, spec),
        training_images=study["data"]["train"] + study["data"]["validation"],
    )


def _header(study: Mapping[str, Any], side: Mapping[str, Any]) -> dict[str, Any]:
    name = str(study["dataset"])
    hub = HUB_DATASETS.get(name)
    metrics = {"accuracy": side["accuracy"], **side.get("metrics", {})}
    return {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "imagestudy"],
        **({"datasets": [hub]} if hub else {}),
        "metrics": list(metrics),
        "model-index": [
            {
                "name": str(study["name"]),
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": name, "type": hub or name, "split": "test"},
                        "metrics": [{"type": metric, "value": value} for metric, value in metrics.items()],
                    }
                ],
            }
        ],
    }


def _limits(run_dir: Path, study: Mapping[str, Any], role: str, spec: ImageSpec) -> list[str]:
    """What a user must know before relying on the network, one sentence each."""
    limits = [
        f"It knows the {spec.num_classes} classes above and nothing else: any other image gets one of them too.",
        f"Images are reduced to {spec.height} x {spec.width} pixels"
        f"{' of grey' if spec.channels == 1 else ''}, cropped at the centre; smaller details are not seen.",
        "It was tested on images of the same source as the training images. Others were not tested.",
    ]
    if study["dataset"] == "synthetic":
        limits.insert(0, "The images are synthetic: no number here says anything about real images.")
    run = results.load_run(run_dir)
    limits += _about_classes(run, study, role)
    limits += [f"Data: {note}." for note in study["data"].get("notes", [])]
    if study["kind"] == "search":
        limits += [each.evidence for each in results.diagnose(run) if each.severity == "serious"]
    return limits


def _about_classes(run: results.Run, study: Mapping[str, Any], role: str) -> list[str]:
    """Unequal class sizes and the classes that are recognised worst, both in the test set."""
    if run.predictions is None:
        return []
    names = class_names(study)
    labels = run.predictions["label"]
    right = (run.predictions[role] == labels).groupby(labels)
    shares = {int(label): float(share) for label, share in right.mean().items()}  # type: ignore[call-overload]
    sizes = {int(label): int(size) for label, size in right.size().items()}  # type: ignore[call-overload]
    worst = sorted(shares, key=lambda label: shares[label])[:WORST_CLASSES]
    described = [f"{names[label]} {shares[label]:.1%} (of {count(sizes[label], 'image')})" for label in worst]
    limits = [f"It recognises these classes worst in the test set: {', '.join(described)}."]
    largest, smallest = max(sizes, key=lambda label: sizes[label]), min(sizes, key=lambda label: sizes[label])
    if sizes[largest] >= UNEQUAL * sizes[smallest]:
        limits.append(
            f"Classes are unequal: the test set has {sizes[largest]} images of {names[largest]} and {sizes[smallest]} "
            f"of {names[smallest]}, and accuracy is mostly about the large ones."
        )
    return limits


def _cell(value: Any) -> str:
    """A value in a table cell of Markdown."""
    return " ".join(str(value).split()).replace("|", "\\|")
