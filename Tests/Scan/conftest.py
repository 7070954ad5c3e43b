"""What the scan shares with the tests of the running gateway."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "Integration"))

from harness.fixtures import *  # noqa: E402,F401,F403
