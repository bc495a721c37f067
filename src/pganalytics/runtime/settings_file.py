"""Resolving the settings: TOML file, then environment `PGANALYTICS_SECTION__KEY`, all problems reported together.

This module alone reads the environment.
"""

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from pganalytics.runtime.errors import SettingsError
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_text import SECRET

ENV_PREFIX = "PGANALYTICS_"
CONFIG_VARIABLE = "PGANALYTICS_CONFIG"
BOOTSTRAP_VARIABLE = "KAFKA_BOOTSTRAP"


def environment(name: str) -> str | None:
    """A variable of the environment that is not a setting; None when absent or empty."""
    return os.environ.get(name) or None


def settings_path(path: Path | None) -> Path | None:
    """The settings file: `path`, or $PGANALYTICS_CONFIG, or none."""
    named = environment(CONFIG_VARIABLE)
    return Path(named) if path is None and named else path


def load_settings(path: Path | None) -> Settings:
    """Settings of `path` (or of $PGANALYTICS_CONFIG, or none) and of the environment; raises SettingsError."""
    path = settings_path(path)
    if path is not None:
        _check_syntax(path)
    unknown = _unknown_variables()
    try:
        settings = _with_file(path)()
    except ValidationError as error:
        problems = [_explain(problem, path) for problem in error.errors()]
        raise SettingsError(*unknown, *problems) from error
    except ValueError as error:
        raise SettingsError(*unknown, f"environment: {error}; lists and tables are given as JSON") from error
    if unknown:
        raise SettingsError(*unknown)
    return settings


def _with_file(path: Path | None) -> type[Settings]:
    class Resolved(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del init_settings, dotenv_settings, file_secret_settings
            if path is None:
                return (env_settings,)
            return env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    return Resolved


def _check_syntax(path: Path) -> None:
    try:
        with path.open("rb") as file:
            tomllib.load(file)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such settings file; `pganalytics config show` prints the defaults") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _unknown_variables() -> list[str]:
    sections = list(Settings.model_fields)
    problems = []
    for name in sorted(os.environ):
        if not name.upper().startswith(ENV_PREFIX) or name.upper() == CONFIG_VARIABLE:
            continue
        section = name[len(ENV_PREFIX) :].split("__")[0].lower()
        if section not in sections:
            problems.append(f"environment {name}: no section {section!r}{_hint(section, sections)}")
    return problems


def _explain(problem: Any, path: Path | None) -> str:
    where = ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in problem["loc"]).replace(".[", "[")
    source = _source(problem["loc"], path)
    if problem["type"] == "extra_forbidden":
        return f"{source}: {where}: unknown key{_hint(str(problem['loc'][-1]), _siblings(problem['loc'][:-1]))}"
    given = "" if isinstance(problem["input"], dict | list) else f" (given: {_shown(where, problem['input'])})"
    return f"{source}: {where or 'settings'}: {problem['msg'].removeprefix('Value error, ')}{given}"


def _source(loc: tuple[str | int, ...], path: Path | None) -> str:
    """The variable that set the key, or else the file."""
    named = (ENV_PREFIX + "__".join(str(part) for part in loc[:depth]) for depth in range(len(loc), 0, -1))
    given = {name.upper(): name for name in os.environ}
    variable = next((given[name.upper()] for name in named if name.upper() in given), None)
    return f"environment {variable}" if variable else str(path or "environment")


def _shown(where: str, value: object) -> str:
    return "not shown" if SECRET.search(where) or "://" in str(value) else repr(value)[:80]


def _siblings(path: tuple[str | int, ...]) -> list[str]:
    """Keys that the table at `path` has."""
    model: type[BaseModel] = Settings
    for part in path:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        models = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def _hint(wrong: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; known: {', '.join(known)}" if known else ""
