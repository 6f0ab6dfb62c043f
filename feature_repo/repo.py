"""The project's objects as module attributes, for the `feast` command; Python uses `store.py`."""

from churn.settings import get_settings
from feature_repo.streamflow import feast_objects

globals().update(feast_objects(get_settings().lake))
