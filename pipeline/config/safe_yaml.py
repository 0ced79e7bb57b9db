"""YAML that may be a stranger's, read as plain values, and nested values flattened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.system.errors import UserError

LARGEST = 100_000  # bytes; params.yaml has some 5,000
# what reading YAML raises
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document of plain values.

    Aliases, by which a few lines stand for gigabytes, and a key that stands there twice are
    refused.

    Raises:
        one of NOT_YAML.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check(node: Any, seen: set[int]) -> None:
    if id(node) in seen:
        raise _refused("an alias (*name), which is not taken here", node)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check(item, seen)
    elif isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            _check(key, seen)
            _check(value, seen)
            if isinstance(key.value, str) and key.value in keys:
                raise _refused(f"{key.value} stands there twice", key)
            keys.add(key.value if isinstance(key.value, str) else None)


def _refused(problem: str, node: Any) -> Exception:
    error: Exception = yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return error


def read_sections(file: Path) -> dict[str, Any]:
    """Return the nested dictionaries of a file such as params.yaml, unchecked.

    Raises:
        UserError: there is no such file, or it is not YAML of sections.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UserError(f"{file}: more than {LARGEST:,} bytes are no parameters")
        values = load_yaml(text.decode())
    except FileNotFoundError:
        raise UserError(f"{file}: no such file in {os.getcwd()}; `alexnet configure sample` "
                        "writes params.yaml") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except NOT_YAML as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: expected sections (dataset, resize, ...), found "
                        f"{type(values).__name__}")
    return values


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `section.key` to value for every value in nested dictionaries, in their order."""
    return dict(_flattened(values, ""))


def _flattened(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
