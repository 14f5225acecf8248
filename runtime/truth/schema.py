"""The published JSON Schema of the snapshot document (``config schema snapshot``)."""

from __future__ import annotations

from typing import Any

from runtime.truth.document import SCHEMA_ID, Snapshot


def snapshot_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what `runtime.truth.reader.Reader.snapshot` tells, as serialized."""
    schema = Snapshot.model_json_schema(by_alias=True, mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
        "title": "Snapshot",
    }
