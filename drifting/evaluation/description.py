"""What was measured, in words."""

from drifting.evaluation import metrics
from drifting.evaluation.metric import Row


def of_row(row: Row) -> str:
    """A row of the table as one line for people."""
    parts = [f"step {row['step']}"]
    if row.get("sampler"):
        parts.append(f"{row['sampler']} at {row['nfe']} NFE")
    for metric in metrics.known().values():
        if any(row.get(column) is not None for column in metric.columns):
            parts.append(metric.words(row))
    return ", ".join((*parts, f"{row['eval_seconds']:.1f} s"))
