"""The commands of the command line, one a file; `gconv.commands.app` lists them."""
