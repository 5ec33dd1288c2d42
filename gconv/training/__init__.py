"""Training, measuring and comparing networks. Needs the extra: pip install "gconv[train]"."""
