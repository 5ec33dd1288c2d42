"""Run a part of a claim in a process of its own: `python -m benchmarks.child CLAIM THREADS TASK`, with TASK in JSON.

Calls `child(task)` of the claim and prints what it gives as JSON. The process may not take more memory than the machine
has: what does not fit fails with a message, and takes nothing else down.
"""

from __future__ import annotations

import json
import os
import resource
import sys

import torch

from benchmarks.harness import module


def main() -> None:
    """Run the task of the command line."""
    name, threads, task = sys.argv[1:]
    torch.set_num_threads(int(threads))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.getrlimit(resource.RLIMIT_AS)[1]))
    print(json.dumps(module(name).child(json.loads(task))))


if __name__ == "__main__":
    main()
