"""The services as processes of their own behind the gateway, as they are run in earnest."""

import pytest

from stand import Stand


@pytest.fixture()
def stand(tmp_path):
    stand = Stand(tmp_path)
    try:
        stand.start()
        yield stand
    finally:
        stand.stop()
