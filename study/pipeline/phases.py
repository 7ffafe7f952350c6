"""A study as a list of phases. To add one, write a class with `name`, `enabled` and `run`, and put it into the list."""

from typing import Any

from study.pipeline.audit import Audit
from study.pipeline.check_images import CheckImages
from study.pipeline.extra_searches import Control, TunedBaseline
from study.pipeline.final import Final, Reproduction
from study.pipeline.finalists import Finalists
from study.pipeline.run_context import Phase
from study.pipeline.search import Search

STUDY_PHASES: list[Phase[Any]] = [CheckImages(), Search(), Audit(), Control(), TunedBaseline(), Finalists(), Final()]
REPRODUCE_PHASES: list[Phase[Any]] = [CheckImages(), Reproduction()]
