"""The commands of the command line, one a file; `gconv.commands.app` lists them."""

INTERRUPTED = 130  # what a shell reports for Ctrl-C, and typer returns for it
