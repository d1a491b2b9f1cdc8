"""What was measured, in words."""

from typing import Any


def of_row(row: dict[str, Any]) -> str:
    """A row of the table as one line for people."""
    mode = f", {row['fid_mode']}" if row["fid_mode"] else ""
    parts = [f"step {row['step']}"]
    if row.get("sampler"):
        parts.append(f"{row['sampler']} at {row['nfe']} NFE")
    if row.get("frechet_distance") is not None:
        parts.append(f"Frechet distance ({row['features']}{mode}) {row['frechet_distance']:.4g}")
    for column in ("kid", "inception_score"):
        if row.get(column) is not None:
            parts.append(f"{column} {row[column]:.4g} +- {row[column + '_std']:.2g}")
    for column in ("precision", "recall", "density", "coverage", "mifid"):
        if row.get(column) is not None:
            parts.append(f"{column} {row[column]:.4g}")
    if row.get("energy_distance") is not None:
        floor = row["energy_distance_real"]
        parts.append(f"energy distance {row['energy_distance']:.4g} (of real sets: {floor:.2g})")
    if row.get("knn_accuracy") is not None:
        parts.append(f"3-NN label accuracy {row['knn_accuracy']:.1%}")
    if row.get("nn_distance_samples") is not None:
        text = f"median distance to the nearest real image {row['nn_distance_samples']:.3g}"
        if row.get("nn_distance_heldout") is not None:
            text += f" (held-out real: {row['nn_distance_heldout']:.3g})"
        parts.append(text)
    return ", ".join((*parts, f"{row['eval_seconds']:.1f} s"))
