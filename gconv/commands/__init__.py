"""The commands of the command line, one a file; `gconv.cli` lists them."""
