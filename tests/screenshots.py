#!/usr/bin/env python3
"""Makes the screenshots of the documentation with a headless Chromium, which has to be installed.

python tests/screenshots.py http://127.0.0.1:7860/ explorer.png --script="chooseSeed(44)"
python tests/screenshots.py results/00000-run/report.html report.jpg --height=1400
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from browser import Browser, find_chromium


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", help="address, or an HTML file")
    parser.add_argument("out", help="PNG or .jpg to write")
    parser.add_argument("--width", type=int, default=1200, help="of the window (default: 1200)")
    parser.add_argument("--height", type=int, default=900, help="of the picture (default: 900)")
    parser.add_argument("--dark", action="store_true", help="as for who prefers dark colors")
    parser.add_argument("--script", default="", help="JavaScript to run in the page first")
    parser.add_argument(
        "--until",
        default="!document.querySelector('[aria-busy=true], .working:not([hidden])')",
        help="what has to be true before the picture is taken (default: nothing is being made)",
    )
    args = parser.parse_args()
    if find_chromium() is None:
        parser.error("there is no Chromium: apt-get install chromium-headless-shell")
    is_file = os.path.exists(args.page)
    page = Path(args.page).absolute().as_uri() if is_file else args.page
    with Browser(args.width, min(args.height, 1000), args.dark) as browser:
        browser.open(page)
        browser.wait_for(args.until)
        if args.script:
            browser.evaluate(f"(async () => {{ {args.script} }})()")
            browser.wait_for(args.until)
        browser.evaluate("new Promise((done) => setTimeout(done, 300))")  # It is drawn.
        browser.screenshot(args.out, args.height)
    for complaint in browser.complaints:
        print(f"console: {complaint}", file=sys.stderr)
    return 1 if browser.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
