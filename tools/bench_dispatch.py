"""Where each microsecond of host time goes: the suite launch of bench.py, which takes the same options."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file of a checkout: the package lies beside tools/
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cltorch.tools import bench


def main(argv: Sequence[str] | None = None) -> int:
    return bench.main(["launch", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
