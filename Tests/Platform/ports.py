"""The harness of the integration tests has them; this is for those whose path is this folder alone."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "Integration"))

from harness.ports import free_port, number  # noqa: E402,F401
