"""`python -m benchmarks.clip_passes CLIP N`: N passes over a clip in one process; prints the resident memory after each, in MB of 1e6 bytes, as a JSON list."""

from __future__ import annotations

import json
import sys

from edge import Pipeline
from edge.output.summary import rss_mb


def passes(clip: str, n: int) -> list[float]:
    """Open the pipeline, run over the whole clip and close it, `n` times; return the resident memory after each."""
    rss = []
    for _ in range(n):
        with Pipeline(source=clip) as pipeline:
            for _ in pipeline:
                pass
        rss.append(rss_mb())
    return rss


if __name__ == "__main__":
    sys.stdout.write(json.dumps(passes(sys.argv[1], int(sys.argv[2]))) + "\n")
