"""The command line tools. A wheel carries them here; a checkout keeps them in the repository's tools folder."""
from pathlib import Path

_checkout = Path(__file__).resolve().parents[2] / "tools"
if not (Path(__file__).parent / "list_devices.py").exists() and _checkout.is_dir():
    __path__.append(str(_checkout))
