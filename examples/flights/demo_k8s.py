"""`make demo-k8s`: the story of `make demo` on a real Kubernetes cluster, every promise checked as it goes.

python demo_k8s.py [--keep] [--home DIR]

The cluster is a throw-away one (as root on Linux), or the one that KUBECONFIG names: then PIK_IMAGE is an
image that its nodes have, and AWS_ENDPOINT_URL an emulator that its pods reach as this machine does.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running, and say how to look around"
    )
    parser.add_argument("--home", type=Path, default=PROJECT / "build" / "demo-k8s", help="where it works")
    options = parser.parse_args()
    sys.path.append(str(PROJECT / "localstack"))  # the throw-away cluster
    from story.kubernetes.chapters import tell
    from story.kubernetes.cluster_stage import ClusterStage
    from story.kubernetes.place import end_kept
    from story.terminal import StoryBroken

    from cluster.errors import ClusterError

    home = options.home.resolve()
    end_kept(home)  # of an earlier time
    stage = ClusterStage(home)
    began = time.monotonic()
    try:
        tell(stage, keep=options.keep)
    except StoryBroken as broken:
        stage.broken(broken)
        return 1
    except ClusterError as error:
        stage.say(f"\n[bold red]No cluster:[/bold red] {error}")
        return 1
    except KeyboardInterrupt:
        stage.say("\ninterrupted")
        return 130
    finally:
        stage.down(keep=options.keep)
    stage.farewell(time.monotonic() - began, keep=options.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
