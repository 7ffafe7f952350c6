"""What is said about the images before anything is trained: data.json, and a contact sheet of each class."""

from typing import Any

from study.config import TrainingConfig
from study.data import checks, contact_sheet, test_set
from study.pipeline.run_context import RunContext
from study.storage.files import write_json

# Near duplicates are searched for in up to so many images, which takes some minutes on two cores.
MOST_SEARCHED = 100_000
PICTURES = "data"


class CheckImages:
    """Looks for duplicates, leaks and other faults of the images. Nothing is chosen by what is found."""

    name = "data_checks"

    def enabled(self, config: TrainingConfig) -> bool:
        return True

    def run(self, context: RunContext[Any]) -> None:
        path = context.run_dir / "data.json"
        if path.exists():
            return
        try:
            findings = find(context)
            picture = {"file": f"{PICTURES}/classes.png", "title": "Training images of each class"}
            contact_sheet.write(context.run_dir / picture["file"], checks.examples_of_classes(findings.dataset))
            write_json(path, {**checks.data_file(findings), "pictures": [picture]})
        except Exception as error:
            # The study can do without.
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            context.output.say(f"warning: the images could not be checked ({cause})")


def find(context: RunContext[Any]) -> checks.Findings:
    """What `study.data` says of the run's images; it is searched for once for each data set.

    Raises:
        DataError: the test set cannot be read, or the data directory cannot be written.
        KeyboardInterrupt: a signal asked for the end of the study.
    """
    with context.interruption.at_once():
        images = len(context.dataset.training.labels) + test_set.count_images(context.dataset)
        return checks.inspect(context.dataset, near=images <= MOST_SEARCHED)
