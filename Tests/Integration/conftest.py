"""What the tests of this folder share with those of `Tests/ConformanceTests`."""

from harness.fixtures import *  # noqa: F401,F403
