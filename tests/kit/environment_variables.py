"""The environment variables that the settings know."""

from churn.settings import CampaignSettings, EventSettings, GateSettings, Settings


def known_variables() -> set[str]:
    """Return every variable that the settings read, by its name in the environment."""
    return {"CHURN_CONTRACT"} | {  # settings themselves take the first month from the contract
        str(field.validation_alias or f"{kind.model_config.get('env_prefix', '')}{name}").upper()
        for kind in (Settings, CampaignSettings, GateSettings, EventSettings)
        for name, field in kind.model_fields.items()
    }
