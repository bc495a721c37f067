"""`pganalytics config show`: the settings as they are resolved."""

from pganalytics.cli.shell import ConfigOption, JsonOption, VerboseOption
from pganalytics.runtime.settings_file import load_settings
from pganalytics.runtime.settings_text import as_json, as_toml


def show(config: ConfigOption = None, *, json_output: JsonOption = False, verbose: VerboseOption = False) -> None:
    """Print them; secrets are masked."""
    del verbose  # errors look at it
    settings = load_settings(config)
    print(as_json(settings) if json_output else as_toml(settings))
