"""What the `feast` command finds: the project's objects as module attributes. Python uses store.py."""

from churn.settings import get_settings
from feature_repo.streamflow import feast_objects

globals().update(feast_objects(get_settings().lake))
