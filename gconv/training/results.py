"""The run folder of a comparison: `results.json`, whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gconv.training import files
from gconv.training.compare import Comparison


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values, for `results.json`."""
    rows = [
        {
            "variant": row.variant,
            "domain": row.domain,
            "convolution": row.convolution,
            "parameters": row.parameters,
            "test_accuracy": list(row.accuracies),
            "test_accuracy_mean": row.mean_accuracy,
            "step_milliseconds": list(row.timing.milliseconds),
            "step_milliseconds_median": row.timing.median,
            "step_milliseconds_quartiles": list(row.timing.quartiles),
            "step_milliseconds_noisy": row.timing.noisy,
            "ratio_to_first": row.timing.ratio,
            "step_bytes": row.step_bytes,
        }
        for row in comparison.rows
    ]
    runs = [
        {"variant": run.variant, "seed": run.seed, "epochs": [asdict(epoch) for epoch in run.history]}
        for run in comparison.runs
    ]
    return {
        "command": comparison.settings.command,
        "settings": comparison.settings.as_json(),
        "data": comparison.images.title,
        "machine": comparison.machine,
        "versions": comparison.versions,
        "seconds": comparison.seconds,
        "rows": rows,
        "runs": runs,
    }


def writable(folder: Path) -> Path:
    """Make the folder, and make sure that files can be written there.

    Raises:
        ValueError: if they cannot, with the system's reason.
    """
    probe = folder / f".{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write to the folder {folder}: {error.strerror or error}; choose one with --out"
        ) from error
    return folder


def write_results(comparison: Comparison, folder: Path) -> Path:
    """Write `results.json` into `folder`, whole or not at all."""
    path = folder / "results.json"
    files.write(path, json.dumps(as_json(comparison), indent=1) + "\n")
    return path
