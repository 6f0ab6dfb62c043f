"""The feature services: what a model is trained on and what it is served with."""

from feast import FeatureService, FeatureView

from churn.contract.features import SERVICE_VERSIONS, SERVICES, Service


def feature_services(views: dict[str, FeatureView]) -> dict[str, FeatureService]:
    """Return the feature services by name, over `views`.

    Each version is one by its versioned name, for as long as a release may be of it; the plain name is the
    newest version.
    """
    named = {service.versioned_name: service for service in SERVICE_VERSIONS}
    named |= {service.name: service for service in SERVICES}
    return {name: _feature_service(name, service, views) for name, service in named.items()}


def _feature_service(name: str, service: Service, views: dict[str, FeatureView]) -> FeatureService:
    return FeatureService(
        name=name,
        features=[views[view.name][list(view.feature_names)] for view in service.views],
        description=service.description,
        owner="team:churn",
    )
