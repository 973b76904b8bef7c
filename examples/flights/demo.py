"""`make demo`: the whole loop on real input, told as one story, with every promise checked as it goes.

python demo.py [--keep] [--home DIR]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running, and say how to look around"
    )
    parser.add_argument(
        "--home", type=Path, default=HERE.parent.parent / "build" / "demo", help="where it works"
    )
    options = parser.parse_args()
    from story.chapters import tell
    from story.folder import Folder
    from story.terminal import StoryBroken

    stage = Folder(options.home)
    began = time.monotonic()
    try:
        tell(stage)
    except StoryBroken as broken:
        stage.console.print(f"\n[bold red]A promise does not hold:[/bold red] {broken}")
        stage.say(f"What pik said is in {stage.log}")
        return 1
    except KeyboardInterrupt:
        stage.say("\ninterrupted")
        return 130
    finally:
        if not options.keep:
            stage.down()
    stage.farewell(time.monotonic() - began, keep=options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
