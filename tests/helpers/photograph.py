"""Pictures of a report for the docs, taken in a headless Chromium: from a heading to the next one.

python tests/helpers/photograph.py results/demo/report.html results review comparison --output docs
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.browser import CHROMIUM, Browser

WIDTH, TALLEST = 1100, 760  # CSS pixels
MARGIN = 12
PLACE = """(() => {
  const top = document.getElementById(%r);
  let next = top.nextElementSibling;
  while (next && next.tagName !== "H2") next = next.nextElementSibling;
  const start = top.getBoundingClientRect().top + scrollY;
  return [start, (next ? next.getBoundingClientRect().top + scrollY : document.body.scrollHeight) - start];
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("sections", nargs="+", help="ids of headings")
    parser.add_argument("--output", type=Path, required=True, help="folder; report-{id}.jpg")
    args = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("no Chromium here: apt install chromium")
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        browser.open(args.report, WIDTH)
        for section in args.sections:
            top, height = browser.run(PLACE % section)
            clip = {"x": 0, "y": top - MARGIN, "width": WIDTH, "height": min(height, TALLEST), "scale": 1}
            taken = browser.call(
                "Page.captureScreenshot", format="jpeg", quality=80, clip=clip, captureBeyondViewport=True
            )
            (args.output / f"report-{section}.jpg").write_bytes(base64.b64decode(taken["data"]))
        browser.close()


if __name__ == "__main__":
    main()
