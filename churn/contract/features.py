"""The feature views and feature services in force: the one contract between training and serving."""

from churn.contract.structure import Feature, Service, View
from churn.contract.tables import CONTRACT
from churn.contract.types import DType

__all__ = [
    "BASELINE", "DEFAULT_SERVICE", "SERVICES", "SERVICE_BY_NAME", "VIEWS", "VIEW_BY_NAME",
    "DType", "Feature", "Service", "View",
]  # fmt: skip

VIEWS = CONTRACT.views
VIEW_BY_NAME = {view.name: view for view in VIEWS}
# The newest version of each feature service.
SERVICES = tuple(CONTRACT.newest(name) for name in dict.fromkeys(s.name for s in CONTRACT.services))
SERVICE_BY_NAME = {service.name: service for service in SERVICES}
DEFAULT_SERVICE = SERVICE_BY_NAME[CONTRACT.default_service]
BASELINE = SERVICE_BY_NAME[CONTRACT.baseline_service]
