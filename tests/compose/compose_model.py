"""The keys of compose.yaml that are used here, and nothing else: a key that this model does not have is refused."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
VARIABLE = re.compile(r"\$\{([A-Z_]+):-([^}]*)\}")
"""The one form of variable that is used: with a default, so that no .env is needed."""

Duration = Annotated[str, Field(pattern=r"^[0-9]+s$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Part(BaseModel):
    """A table of the file; types are as the file has them: no number where a text belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Build(Part):
    """How an image is made."""

    context: str
    dockerfile: str


class Healthcheck(Part):
    """How a container is asked whether it is well."""

    test: list[str] = Field(default_factory=list)
    interval: Duration = "30s"
    timeout: Duration = "30s"
    retries: int = Field(3, ge=1)
    disable: bool = False


class Dependency(Part):
    """What another service must have come to."""

    condition: Literal["service_healthy", "service_completed_successfully"]


class Service(Part):
    """One container."""

    image: str
    build: Build | None = None
    pull_policy: Literal["never", "build", "missing"] = "missing"
    command: list[str] = Field(default_factory=list)
    entrypoint: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    hostname: str = ""
    user: str = ""
    init: bool = False
    secrets: list[Name] = Field(default_factory=list)
    volumes: list[str] = Field(default_factory=list)
    tmpfs: list[str] = Field(default_factory=list)
    ports: list[str] = Field(default_factory=list)
    healthcheck: Healthcheck | None = None
    depends_on: dict[Name, Dependency] = Field(default_factory=dict)
    restart: Literal["no", "unless-stopped"]
    read_only: bool = False
    cap_drop: list[str] = Field(default_factory=list)
    security_opt: list[str] = Field(default_factory=list)
    stop_grace_period: Duration = "10s"

    def mounts(self) -> list[tuple[str, str, bool]]:
        """Source, place in the container, whether it is read only."""
        parts = [one.split(":") for one in self.volumes]
        assert all(len(one) == 2 or one[2:] == ["ro"] for one in parts), self.volumes
        return [(one[0], one[1], len(one) == 3) for one in parts]


class SecretFile(Part):
    """Where a secret comes from."""

    file: str


class Compose(Part):
    """The whole file."""

    name: str
    services: dict[Name, Service]
    secrets: dict[Name, SecretFile]
    volumes: dict[Name, None]


def load_compose(path: Path = COMPOSE / "compose.yaml", *, environment: dict[str, str] | None = None) -> Compose:
    """The file as an engine would read it; `x-` tables are gone, variables have their values."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {key: value for key, value in found.items() if not key.startswith("x-")}
    return Compose.model_validate(_filled(found, environment or {}))


def _filled(value: Any, environment: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, environment) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, environment) for one in value]
    if not isinstance(value, str):
        return value
    made = VARIABLE.sub(lambda match: environment.get(match[1]) or match[2], value)
    assert "$" not in made, f"{value}: not a variable with a default"
    return made
