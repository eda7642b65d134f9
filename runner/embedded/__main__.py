"""`python -m defectforge.runner.embedded`, or this file by its path where the package is not installed."""

import os
import sys

# Before torch is loaded. Threads that spin while they wait for each other take the processor from the one they wait
# for: on a machine with other work, two spinning threads were measured 50 times slower than two that sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if not __package__:
    # Started by path: this folder must not shadow the standard library, and the clone becomes the package.
    sys.path.pop(0)
    import importlib.util
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "defectforge", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["defectforge"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["defectforge"])

from defectforge.runner.embedded.protocol.app import leave, main

if __name__ == "__main__":
    leave(main())
