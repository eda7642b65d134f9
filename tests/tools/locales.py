"""The English locale of the nodes, made from their schemas; ComfyUI's window reads it from `locales/<language>`.

python tests/tools/locales.py   writes locales/en again after a schema has changed; then bring locales/ja up to date
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, import_package

LOCALES = ROOT / "locales"


def node_definitions() -> dict[str, Any]:
    """`nodeDefs.json`: display name, description, and name and tooltip of each input and output."""
    from defectforge.nodes.extension import DefectForgeExtension

    definitions = {}
    for node in asyncio.run(DefectForgeExtension().get_node_list()):
        schema = node.GET_SCHEMA()
        definitions[schema.node_id] = {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {
                entry.id: {"name": (entry.display_name or entry.id).replace("_", " "), "tooltip": entry.tooltip}
                for entry in schema.inputs
            },
            "outputs": {
                str(number): {"name": entry.display_name.replace("_", " "), "tooltip": entry.tooltip}
                for number, entry in enumerate(schema.outputs)
            },
        }
        if not schema.outputs:
            del definitions[schema.node_id]["outputs"]
    return definitions


def main_definitions() -> dict[str, Any]:
    """`main.json`: the names of the node categories; the words of the pack's scripts are kept as they are there."""
    from defectforge.nodes.extension import DefectForgeExtension

    categories: set[str] = set()
    for node in asyncio.run(DefectForgeExtension().get_node_list()):
        categories.update(node.GET_SCHEMA().category.split("/"))
    written = json.loads((LOCALES / "en" / "main.json").read_text(encoding="utf-8"))
    return {"nodeCategories": {name: name for name in sorted(categories)}, "defectforge": written["defectforge"]}


def text_of(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    import_package()
    (LOCALES / "en").mkdir(parents=True, exist_ok=True)
    (LOCALES / "en" / "nodeDefs.json").write_text(text_of(node_definitions()), encoding="utf-8")
    (LOCALES / "en" / "main.json").write_text(text_of(main_definitions()), encoding="utf-8")


if __name__ == "__main__":
    main()
