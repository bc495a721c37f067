"""Settings of topics, changed behind the back of the services."""

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pganalytics.runtime.settings import Settings


def set_option(settings: Settings, topic: str, name: str, value: str) -> None:
    """Returns when the broker has taken it."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    client.incremental_alter_configs([resource])[resource].result(30)
