"""`python -m benchmarks [NAME…]`: the same as `gconv bench`."""

import sys

from gconv.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench"]
    main()
