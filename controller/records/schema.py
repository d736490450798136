"""The JSON Schemas in docs/schemas, made from the record types: `python -m controller.records.schema`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from controller.records.alert import AlertRecord
from controller.records.cost import CostRecord
from controller.records.lines import RecordType
from controller.records.server import ScalingEvent, ServerSample
from controller.records.task import TIME_PATTERN, TaskRecord

#: What the data of a type of records may be.
MODELS: Final[dict[RecordType, tuple[type[msgspec.Struct], ...]]] = {
    "task_processing": (TaskRecord,),
    "server_status": (ServerSample, ScalingEvent),
    "cost_traffic": (CostRecord,),
    "alerts": (AlertRecord,),
}

_FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "schemas"


def schema(kind: RecordType) -> dict[str, Any]:
    """The schema of one line of a type of records (JSON Schema, draft 2020-12)."""
    models = MODELS[kind]
    _, definitions = msgspec.json.schema_components(models, ref_template="#/$defs/{name}")
    forms = [definitions.pop(model.__name__) for model in models]
    parts = {"$defs": definitions} if definitions else {}
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
            "data": forms[0] if len(forms) == 1 else {"oneOf": forms},
        },
        "required": ["timestamp", "type", "data"],
        "additionalProperties": False,
        **parts,
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
