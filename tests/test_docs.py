"""What the documentation and the stubs say is what the code has."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cltorch import config

ROOT = Path(__file__).resolve().parent.parent


def variable_rows() -> str:
    """The README's table of environment variables, from config.py."""
    defaults = {True: "on", False: "off", "": "unset"}
    return "\n".join(f"| `CLTORCH_{v.name}` | {defaults.get(v.default) or f'`{v.default}`'} | {v.help} |" for v in config.TABLE.values())


def test_readme_lists_the_variables() -> None:
    text = (ROOT / "README.md").read_text()
    table = re.search(r"<!-- variables:.*?-->\n\| variable.*?\n\|---.*?\n(.*?)\n?<!-- end of variables -->", text, re.S)
    assert table is not None
    assert table[1] == variable_rows()


def test_no_variable_is_read_elsewhere() -> None:
    for path in (ROOT / "cltorch").rglob("*.py"):
        names = set(re.findall(r"CLTORCH_([A-Z_]+)", path.read_text())) - set(config.TABLE)
        assert not names, f"{path.name} mentions CLTORCH_ variables that config.py does not have: {names}"


def test_stubs_are_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "make_stubs.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_example_runs(tmp_path: Path) -> None:
    """The twenty lines, as they stand."""
    text = (ROOT / "README.md").read_text()
    code = re.search(r"## Twenty lines\n\n```python\n(.*?)```", text, re.S)
    assert code is not None
    script = tmp_path / "twenty.py"
    script.write_text(code[1])
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 0.5
