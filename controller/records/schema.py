"""The JSON Schemas in docs/schemas, made from the record types: `python -m controller.records.schema`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from controller.records.lines import RecordType
from controller.records.task import TIME_PATTERN, TaskRecord

#: The types of records whose data has a fixed form.
MODELS: Final[dict[RecordType, type[msgspec.Struct]]] = {"task_processing": TaskRecord}

_FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "schemas"


def schema(kind: RecordType) -> dict[str, Any]:
    """The schema of one line of a type of records (JSON Schema, draft 2020-12)."""
    model = MODELS[kind]
    (data,), definitions = msgspec.json.schema_components((model,), ref_template="#/$defs/{name}")
    del data
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"One line of {kind}_YYYY-MM-DD.log",
        "type": "object",
        "properties": {
            "timestamp": {
                "description": "The moment the line speaks of, UTC. The file is that of this day.",
                "type": "string",
                "format": "date-time",
                "pattern": TIME_PATTERN,
            },
            "type": {"const": kind},
            "data": definitions[model.__name__],
        },
        "required": ["timestamp", "type", "data"],
        "additionalProperties": False,
    }


def files() -> dict[str, str]:
    """Name and content of every file of docs/schemas."""
    return {f"{kind}.schema.json": json.dumps(schema(kind), indent=2) + "\n" for kind in MODELS}


def main(arguments: list[str] | None = None) -> int:
    """Writes docs/schemas."""
    parser = argparse.ArgumentParser(prog="python -m controller.records.schema", description="Generate docs/schemas/.")
    parser.add_argument("--directory", type=Path, default=_FOLDER, help="folder to write to (default: docs/schemas/)")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (options.directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
