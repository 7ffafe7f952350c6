"""A study as a list of phases. To add one, write a class with `name`, `enabled` and `run`, and put it into the list."""

from typing import Any

from study.pipeline.phases.audit import Audit
from study.pipeline.phases.check_images import CheckImages
from study.pipeline.phases.extra_searches import Control, TunedBaseline
from study.pipeline.phases.final import Final, Reproduction
from study.pipeline.phases.finalists import Finalists
from study.pipeline.phases.replicates import Replicates
from study.pipeline.phases.search import Search
from study.pipeline.run_context import Phase

STUDY_PHASES: list[Phase[Any]] = [
    CheckImages(),
    Search(),
    Audit(),
    Control(),
    TunedBaseline(),
    Finalists(),
    Final(),
    Replicates(),
]
REPRODUCE_PHASES: list[Phase[Any]] = [CheckImages(), Reproduction()]
