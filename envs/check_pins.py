"""Checks, without installing, that every pin has a wheel or a source archive for every Python of find_python.

    .venv/bin/python envs/check_pins.py

Takes a minute for each Python. pip asks the files what they are: of a source archive that is its own program,
which runs under the Python at hand. Whether another Python can build it, only an installation shows.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).parent
PYTHONS = re.search(r'^PYTHONS="(.*)"', (ENVS / "find_python").read_text(), re.MULTILINE).group(1).split()
FILES = ("build.txt", "requirements.txt", "bench.txt")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pythons", nargs="*", default=PYTHONS, metavar="VERSION", help=" ".join(PYTHONS))
    failed = False
    for python in parser.parse_args().pythons:
        for file in FILES:
            found, error = resolve(ENVS / file, python)
            source = sorted(name for name in found if not name.endswith(".whl"))
            said = f"{len(found) - len(source)} wheels" + "".join(f", from source {name}" for name in source)
            print(f"Python {python}, {file}: {error or said}", flush=True)
            failed |= bool(error)
    sys.exit(failed)


def resolve(requirements: Path, python: str) -> tuple[list[str], str]:
    """The names of the files that pip would install for a version of Python; or none, and the error."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--no-deps", "--no-build-isolation", "--python-version", python, "--target", folder]
        command += ["--report", report, "-r", requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.splitlines()
            telling = [line for line in lines if line.startswith(("ERROR: No matching", "error: ", "╰─>"))]
            return [], " ".join(telling or lines[-1:])
        entries = json.loads(report.read_text())["install"]
    return [entry["download_info"]["url"].rpartition("/")[2] for entry in entries], ""


if __name__ == "__main__":
    main()
