"""What a file of settings has to be."""

from __future__ import annotations

from pathlib import Path

import yaml

from ar_dmvc.errors import ConfigurationError


def check_yaml(path: Path) -> None:
    """Check that a file, if it is there, holds settings, which the parser says less plainly.

    Raises:
        ConfigurationError: it is empty, not valid YAML, or something else.
    """
    if not path.is_file():
        return
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML ({error})") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: {'empty' if content is None else 'holds no settings by name'}")
