"""The bill of materials of an environment (CycloneDX JSON): packages, versions and licences.

`make sbom` calls it on an environment that holds what the image for the CPU holds. The weights of
the demo bundle are a component of their own: their licence is not that of the code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
UNTOLD = {"protobuf": "BSD-3-Clause", "uharfbuzz": "Apache-2.0"}
"""Packages whose metadata names no licence in a form that programs read; from their texts."""


def main() -> int:
    """Write the bill of materials of the environment in the first argument to the second."""
    environment, output = sys.argv[1], Path(sys.argv[2])
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment"]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    subprocess.run([*command, *options, "--output-file", str(output), environment], check=True)
    bill = json.loads(output.read_text())
    for component in bill["components"]:
        if not component.get("licenses"):
            known = UNTOLD.get(component["name"])
            if known is None:
                print(f"{component['name']} names no licence: look it up", file=sys.stderr)
                return 1
            component["licenses"] = [{"license": {"id": known}}]
    bill["components"].append(_weights())
    output.write_text(json.dumps(bill, indent=1) + "\n")
    return 0


def _weights() -> dict[str, Any]:
    """Return the demo bundle as a component."""
    folder = ROOT / "engine/bundles/demo"
    bundle = json.loads((folder / "bundle.json").read_text())
    text = (folder / "LICENSE-weights.txt").read_text()
    licence = {"name": "LICENSE-weights.txt", "text": {"content": text}}
    return {
        "bom-ref": f"bundle:{bundle['name']}@{bundle['version']}",
        "type": "machine-learning-model",
        "name": bundle["name"],
        "version": bundle["version"],
        "description": bundle["intended_use"],
        "licenses": [{"license": licence}],
    }


if __name__ == "__main__":
    raise SystemExit(main())
