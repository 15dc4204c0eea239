"""Pictures of a study's report for the pages of docs: a section each, from its heading to the next one.

python tests/helpers/photograph.py results/demo/report.html docs results labels review
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

CLIP = """(() => {
  const heading = document.getElementById(%r), all = [...document.querySelectorAll("h2")];
  const next = all[all.indexOf(heading) + 1], page = document.querySelector("main").getBoundingClientRect();
  const top = heading.getBoundingClientRect().top - 8, end = next.getBoundingClientRect().top - 8;
  return {x: page.left, y: top + scrollY, width: page.width, height: Math.min(end - top, %d), scale: 1};
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path, help="of the pictures: report-SECTION.jpg")
    parser.add_argument("sections", nargs="+", help="ids of their headings")
    parser.add_argument("--width", type=int, default=1000, help="of the page (default: %(default)s)")
    parser.add_argument("--height", type=int, default=900, help="at most (default: %(default)s)")
    args = parser.parse_args()
    from helpers.browser import Browser

    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        browser.open(args.report, args.width, args.height)
        for section in args.sections:
            clip = browser.run(CLIP % (section, args.height))
            options = {"format": "jpeg", "quality": 80, "captureBeyondViewport": True, "clip": clip}
            picture = browser.call("Page.captureScreenshot", **options)["data"]
            (args.folder / f"report-{section}.jpg").write_bytes(base64.b64decode(picture))
        browser.close()


if __name__ == "__main__":
    main()
