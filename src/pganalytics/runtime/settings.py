"""The settings: every key documented, bounded and used. Resolved once, by `settings_file.load_settings`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LIVE: dict[str, JsonValue] = {"live": True}
"""Marks keys that a service takes up, with all below them, when the settings file changes; any other key needs a restart."""
Port = Annotated[int, Field(ge=1, le=65535)]
HttpHost = Annotated[str, Field(min_length=1, description="Address at which /metrics is served; whoever reaches it may read it.")]
HttpPort = Annotated[
    int,
    Field(ge=0, le=65535, description="Port of /metrics; 0 for none. A second process on one machine needs another one."),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9\[][A-Za-z0-9._:@/\[\]-]{0,199}$")]


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    """How to reach one PostgreSQL server. At most one of the three password keys."""

    host: str = Field("127.0.0.1", min_length=1, description="Host name or address.")
    port: Port = Field(5432, description="Port.")
    dbname: str = Field("postgres", min_length=1, description="Database to connect to.")
    user: str = Field("pganalytics", min_length=1, description="Role to log in as.")
    password: SecretStr | None = Field(None, description="Password; better a password_file.")
    password_file: Path | None = Field(None, description="File whose first line is the password; read at each connect.")
    password_command: list[str] | None = Field(
        None, min_length=1, description="Command that prints the password on its first line; run at each connect."
    )
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        None,
        description="As in libpq; default: prefer where host is a loopback address or a folder of sockets, else verify-full.",
    )
    sslrootcert: Path | None = Field(
        None, description="File with the certificates of trusted authorities; default, where they are verified: the system's."
    )

    @field_validator("host", "dbname", "user")
    @classmethod
    def _no_address(cls, value: str) -> str:
        if "://" in value:  # it would be shown with its password wherever the server is named
            raise ValueError(
                "no connection string has a place here: host, port, user, password and dbname have keys of their own"
            )
        return value

    @model_validator(mode="after")
    def _one_password(self) -> "Server":
        given = [key for key in ("password", "password_file", "password_command") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"only one of {', '.join(given)} can be given")
        return self


class Kafka(Section):
    """The broker, and the installation's topics in it."""

    bootstrap: str = Field("127.0.0.1:9092", min_length=1, description="host:port[,host:port...] of the brokers.")
    prefix: str = Field(
        "pganalytics", pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$", description="First part of every topic's name."
    )
    partitions: int = Field(12, ge=1, le=1000, description="Partitions of every keyed topic; fixed by `setup`.")
    replication_factor: int = Field(3, ge=1, le=9, description="Replicas of every topic made by `setup`.")
    min_insync_replicas: int = Field(2, ge=1, le=9, description="min.insync.replicas of every topic made by `setup`.")
    development: bool = Field(
        False,
        description="Accept fewer than 3 replicas or fewer than 2 in sync: one broker's disk is then all there is.",
    )
    timeout_s: float = Field(10, ge=1, le=120, description="How long a command waits for an answer of the broker.")
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Passed on to every librdkafka client, for example security.protocol."
    )


class MetricSettings(Section):
    """Overrides for one metric; what is absent is as its .avsc says."""

    enabled: bool | None = Field(None, description="Whether to collect it; default: as the preset says.")
    interval_s: float | None = Field(None, ge=0.5, le=604800, description="Seconds between readings.")
    timeout_s: float | None = Field(None, ge=0.1, le=3600, description="statement_timeout of its queries.")
    limit: int | None = Field(None, ge=100, le=10000, description="Rows in detail, for a metric that ranks its rows.")
    parameters: dict[str, Annotated[int, Field(ge=0, le=10**12)]] = Field(
        default_factory=dict, description="Numbers that its queries use, for example listed_age_s of activity."
    )


MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
Preset = Literal["minimal", "standard", "full", "cloud"]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]


class Target(Server):
    """One PostgreSQL server to watch."""

    name: Name | None = Field(None, description="Id of its collector, unique in the fleet; default <host>:<port>.")
    pool_max: int = Field(2, ge=1, le=10, description="Most connections at once to it, and most readings at once.")
    hold_databases: int = Field(
        4,
        ge=0,
        le=10000,
        description="Databases, beside its dbname, to which a connection is kept between readings: the same ones, as long as "
        "they are there. DROP DATABASE without FORCE refuses a database that has one.",
    )
    databases: list[Pattern] = Field(
        default_factory=lambda: ["*"],
        description="Databases read by metrics of database scope; * and ? stand for any characters.",
    )
    exclude_databases: list[Pattern] = Field(default_factory=list, description="Databases left out of those.")
    local: bool = Field(False, description="It runs on the agent's machine: metrics of the machine are collected with it.")
    preset: Preset | None = Field(None, description="Which metrics are on by default; as collect.preset when absent.")
    metrics: dict[str, MetricSettings] = Field(
        default_factory=dict, description="Overrides by metric for this target, key by key before those of [metrics]."
    )
    allow_superuser: bool = Field(
        False,
        description="Read also as a superuser, or as a role that may become one. Better not: whoever can plant an object in a "
        "database then gets its rights.",
    )


class Collect(Section):
    """The agent: one `pganalytics collect` process."""

    preset: Preset = Field(
        "standard",
        description="Which metrics are on by default: the least, what a fleet needs, all, or what clouds allow.",
        json_schema_extra=LIVE,
    )
    metrics_dir: Path | None = Field(
        None, description="Folder of your own metrics: <metric>.avsc, and <metric>/<version>.sql for each variant of its query."
    )
    state_dir: Path = Field(Path("pganalytics-state"), description="Folder of the spool; one agent at a time.")
    workers: int = Field(
        8,
        ge=1,
        le=64,
        description="Readings at once. Each may get a stand-in while it takes far longer than it did before, so there are "
        "twice as many threads.",
    )
    connections: int = Field(200, ge=1, le=10000, description="Most connections to all targets together.")
    connect_timeout_s: float = Field(5, ge=1, le=60, description="How long a connection attempt may take.")
    retry_max_s: float = Field(60, ge=1, le=3600, description="Longest back-off of a target that fails.")
    stop_timeout_s: float = Field(20, ge=1, le=600, description="Seconds from SIGTERM to the end of the process.")
    redact: Literal["none", "secrets", "literals", "all"] = Field(
        "literals",
        description="What is taken out of texts of SQL before they are spooled: nothing; literals of statements that may hold "
        "secrets; all literals and comments; everything but the first word.",
    )
    spool_limit_bytes: int = Field(
        1 << 30, ge=1 << 20, le=1 << 44, description="Size of the spool above which nothing but heartbeats is spooled."
    )
    spool_soft_limit: float = Field(
        0.8, ge=0.1, le=1, description="Share of it above which readings are held back; the rest is kept for critical metrics."
    )
    control: bool = Field(True, description="Read less often when the streams say so; false refuses.")
    most_stretch: float = Field(16, ge=1, le=100, description="Most times that control may make an interval longer.")
    http_host: HttpHost = "127.0.0.1"
    http_port: HttpPort = 9611


RecordsPerS = Annotated[float, Field(gt=0, le=1e6)]
RowsPerS = Annotated[float, Field(gt=0, le=1e9)]
BytesPerS = Annotated[float, Field(gt=0, le=1e10)]
BurstS = Annotated[float, Field(ge=1, le=86400)]


class Quota(Section):
    """What one collector may send; more is deferred, and far more is shed. `pganalytics quota set` replaces the first four.

    A collector of one database sends about 12 records a minute: the defaults are 25 times its pace, and 25 minutes of it at once.
    """

    records_per_s: RecordsPerS = Field(5, description="Records per second.")
    rows_per_s: RowsPerS = Field(2000, description="Rows per second.")
    bytes_per_s: BytesPerS = Field(200_000, description="Bytes of bodies per second.")
    burst_s: BurstS = Field(60, description="Seconds of quota that may be saved up.")
    critical_burst_s: float = Field(
        3600,
        ge=1,
        le=86400,
        description="Seconds of quota that critical records may take at once, as debt; more of them are deferred as others are.",
    )
    ceiling_s: float = Field(
        86400, ge=1, le=2_592_000, description="Seconds of quota, beyond the burst, that are deferred; what is beyond is shed."
    )


class Gaps(Section):
    """When the streams tell that something did not come. Times are those of Kafka, while records come or nothing is unread."""

    confirm_after_s: float = Field(
        120, ge=1, le=86400, description="How long a hole may be filled before it is confirmed; longer than a sender tries again."
    )
    heartbeat_s: float = Field(30, ge=0.5, le=3600, description="Seconds between heartbeats, as the agents make them.")
    silent_after: int = Field(3, ge=2, le=1000, description="Heartbeats that must be absent before a collector is silent.")
    clock_skew_s: float = Field(
        30, ge=1, le=86400, description="Difference between an agent's clock and Kafka's that is told; over below half of it."
    )


class LaneRule(Section):
    """Where records go for which all conditions hold; the first rule that matches counts. Heartbeats are always critical."""

    metric: str = Field(
        "*", pattern=r"^[a-z0-9_*?]{1,60}$", description="Pattern of metrics; * and ? stand for any characters and for one."
    )
    collector: str = Field("*", pattern=r"^[A-Za-z0-9._:@/\[\]*?-]{1,200}$", description="Pattern of collectors.")
    verdict: Literal["admitted", "deferred"] = Field(
        "admitted", description="What the quota said of the record: within it, or over it."
    )
    state: Literal["over_quota", "silent", "open_gap"] | None = Field(
        None,
        description="What else must be so: its collector is over quota, or without heartbeats for 90 s; its sequence has a hole.",
    )
    lane: Literal["critical", "normal", "bulk", "deferred"] = Field(description="Where such records go.")


class Control(Section):
    """How collectors are told to read less often: those that stay over quota, and all when the sink is far behind."""

    enabled: bool = Field(True, description="Whether they are told.")
    interval_s: float = Field(30, ge=1, le=600, description="How often a collector is looked at.")
    most_stretch: float = Field(16, ge=1, le=100, description="Most times that an interval becomes longer.")
    ttl_s: float = Field(
        600, ge=5, le=86400, description="How long an order holds without another one; given again after a third of it."
    )

    @model_validator(mode="after")
    def _outlives_a_look(self) -> "Control":
        if self.ttl_s < 4 * self.interval_s:
            raise ValueError(
                f"ttl_s must be at least 4 times interval_s, or orders end between two looks: {4 * self.interval_s:g}"
            )
        return self


class Streams(Section):
    """The stream processors."""

    quota: Quota = Field(default_factory=Quota, description="Quota of each collector that has no other.")
    never_shed: list[MetricName] = Field(
        default_factory=list,
        description="Metrics of your own that are deferred and never shed, as those of pganalytics are that send a row once.",
    )
    gaps: Gaps = Field(default_factory=Gaps, description="What is told of records and heartbeats that do not come.")
    rules: list[LaneRule] = Field(
        default_factory=list, max_length=100, description="Rules of priority, in order.", json_schema_extra=LIVE
    )
    control: Control = Field(default_factory=Control, description="Telling collectors to read less often.")
    batch_records: int = Field(250, ge=1, le=1000, description="Most records decided and sent at once.")
    poll_records: int = Field(500, ge=2, le=10000, description="Most records of one poll; larger lets critical ones wait longer.")
    session_timeout_s: float = Field(6, ge=6, le=300, description="After how long a dead worker's partitions move.")
    stop_timeout_s: float = Field(20, ge=1, le=600, description="Seconds from SIGTERM to the end of the process.")
    http_host: HttpHost = "127.0.0.1"
    http_port: HttpPort = 9621


class Sink(Section):
    """The writer of the store."""

    batch_records: int = Field(1000, ge=1, le=20000, description="Most records of one transaction.")
    batch_wait_s: float = Field(0.2, ge=0.01, le=10, description="How long a batch may wait for more records.")
    partitions_ahead_days: int = Field(3, ge=1, le=30, description="Daily partitions made in advance.")
    repair: bool = Field(True, description="Look for records that never arrived in the collected topics, and admit them again.")
    settle_interval_s: float = Field(5, ge=0.1, le=30, description="How often the accountant looks for such records.")
    stop_on_failures: bool = Field(
        True, description="Stop when most records, of at least five collectors, cannot be stored, before they are dead-lettered."
    )
    retry_max_s: float = Field(10, ge=0.5, le=600, description="Longest back-off when the store does not answer.")
    session_timeout_s: float = Field(10, ge=6, le=300, description="After how long a dead sink's partitions move.")
    stop_timeout_s: float = Field(20, ge=1, le=600, description="Seconds from SIGTERM to the end of the process.")
    http_host: HttpHost = "127.0.0.1"
    http_port: HttpPort = 9641


class Log(Section):
    """What goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level shown.")
    format: Literal["text", "json"] = Field("text", description="Lines for people or for programs.")


class Settings(BaseSettings):
    """All settings of an installation; each service reads its own sections."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="PGANALYTICS_", env_nested_delimiter="__", env_ignore_empty=True
    )

    kafka: Kafka = Field(default_factory=Kafka, description="The broker.")
    store: Server = Field(
        default_factory=lambda: Server(dbname="pganalytics"),
        description="The analytics store (PostgreSQL 14 or later).",
    )
    collect: Collect = Field(default_factory=Collect, description="The agent.")
    metrics: dict[str, MetricSettings] = Field(default_factory=dict, description="Overrides by metric.", json_schema_extra=LIVE)
    targets: list[Target] = Field(default_factory=list, description="The servers to watch.", json_schema_extra=LIVE)
    streams: Streams = Field(default_factory=Streams, description="The stream processors.")
    sink: Sink = Field(default_factory=Sink, description="The writer of the store.")
    log: Log = Field(default_factory=Log, description="Logging.")

    @field_validator("store", mode="before")
    @classmethod
    def _store_database(cls, value: Any) -> Any:
        return {"dbname": "pganalytics", **value} if isinstance(value, dict) else value
