"""`python -m study COMMAND ...` is `imagestudy COMMAND ...`."""

import sys

from study.cli import main

sys.exit(main())
