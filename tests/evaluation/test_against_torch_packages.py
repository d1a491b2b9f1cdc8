"""The formulas next to those of torch-fidelity, torchmetrics and prdc, copies included."""

import pytest
import script_modules

# Values that depend on another order or on subsets of their own, or are computed in float32.
APART = {"torch-fidelity, its shuffle", "torchmetrics, float32"}


@pytest.fixture(scope="module")
def results():
    for package in ("torch_fidelity", "torchmetrics", "prdc"):
        pytest.importorskip(package)
    return script_modules.load("compare_metrics").compare()


@pytest.mark.slow
def test_numbers_are_those_of_the_other_packages(results):
    for case, metrics in results.items():
        for metric, values in metrics.items():
            for package, value in values.items():
                if package == "ours" or package in APART or metric.startswith("KID, dev"):
                    continue
                what = f"{case}: {metric} of {package}"
                assert values["ours"] == pytest.approx(value, **tolerance(case, metric, package)), (
                    what
                )


def tolerance(case, metric, package):
    if metric == "KID":  # each draws its subsets
        return {"rel": 0.2}
    if metric == "MiFID" and case.startswith("copies"):  # 1e-16 of rounding next to 1e-14
        return {"rel": 0.02}
    if "offset" in case and package == "torch-fidelity" and metric in ("precision", "recall"):
        return {"abs": 0.03}  # its distances are float32
    return {"rel": 1e-7, "abs": 1e-12}


@pytest.mark.slow
def test_copies(results):
    every = results["copies of all"]
    assert {every[name]["ours"] for name in ("precision", "recall", "density", "coverage")} == {1.0}
    half = results["copies of a half"]
    assert half["MiFID"]["ours"] == pytest.approx(1e14 * half["Frechet distance"]["ours"])
    assert half["KID, deviation"]["ours"] is None
