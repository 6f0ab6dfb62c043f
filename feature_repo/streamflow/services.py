"""The feature services: what a model is trained on and what it is served with."""

from feast import FeatureService, FeatureView

from churn.contract.features import SERVICES


def feature_services(views: dict[str, FeatureView]) -> dict[str, FeatureService]:
    """Return the feature services by name, over `views`."""
    return {
        service.name: FeatureService(
            name=service.name,
            features=[views[view.name] for view in service.views],
            description=service.description,
            owner="team:churn",
        )
        for service in SERVICES
    }
