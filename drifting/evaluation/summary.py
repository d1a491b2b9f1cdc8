"""One line of text for a measurement."""

from drifting.evaluation import metrics
from drifting.evaluation.metric import Row


def one_line(row: Row) -> str:
    """The step, the sampler, every metric that was measured, and the time that it took."""
    parts = [f"step {row['step']}"]
    if row.get("sampler"):
        parts.append(f"{row['sampler']} at {row['nfe']} NFE")
    for metric in metrics.known().values():
        if any(row.get(column) is not None for column in metric.columns):
            parts.append(metric.words(row))
    return ", ".join((*parts, f"{row['eval_seconds']:.1f} s"))
