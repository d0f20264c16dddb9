"""Writes the Rust dependencies of what is shipped as a CycloneDX document, to standard output."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SHIPPED = ("b24-messageservice", "b24-messageservice-c", "b24-messageservice-python")


def main() -> None:
    told = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"],
        check=True,
        capture_output=True,
        text=True,
    )
    metadata = json.loads(told.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

    waiting = [key for key, package in packages.items() if package["name"] in SHIPPED]
    shipped: dict[str, list[str]] = {}
    while waiting:
        key = waiting.pop()
        if key in shipped:
            continue
        # What only builds or tests is not in what is shipped.
        needed = [
            dependency["pkg"]
            for dependency in nodes[key]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        shipped[key] = needed
        waiting += needed

    def reference(key: str) -> str:
        return f"pkg:cargo/{packages[key]['name']}@{packages[key]['version']}"

    components: list[dict[str, Any]] = [
        {
            "type": "library",
            "bom-ref": reference(key),
            "name": packages[key]["name"],
            "version": packages[key]["version"],
            "purl": reference(key),
            "licenses": [{"expression": (packages[key]["license"] or "").replace("/", " OR ")}],
        }
        for key in sorted(shipped, key=reference)
    ]
    json.dump(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "components": components,
            "dependencies": [
                {"ref": reference(key), "dependsOn": sorted(map(reference, needed))}
                for key, needed in sorted(shipped.items(), key=lambda item: reference(item[0]))
            ],
        },
        sys.stdout,
        indent=1,
    )
    print()


if __name__ == "__main__":
    main()
