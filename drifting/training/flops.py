"""The operations of a traced function's matrix products and convolutions.

JAX's own `cost_analysis()` counts the body of a loop once, however often it runs, and adds
elementwise operations.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count(function: Callable, *args: Any) -> int:
    """Operations of the matrix products and convolutions in one call; a multiply-add is two.

    They are counted in the traced program, so derivatives are included, and what the compiler
    merges or repeats is not. The body of a scan counts for each iteration; of a cond, only the
    costliest branch counts.

    Raises:
      ValueError: a while loop contains products, and its number of iterations is unknown.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def convolves(jaxpr: core.Jaxpr) -> bool:
    """Whether a traced program contains a convolution, at any depth."""
    return any(
        equation.primitive.name == "conv_general_dilated"
        or any(convolves(inner) for inner in _sub_jaxprs(equation.params))
        for equation in jaxpr.eqns
    )


def _of_jaxpr(jaxpr: core.Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot_general(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [_of_jaxpr(j) for j in _sub_jaxprs(equation.params)]
    if name == "while" and sum(inner):
        raise ValueError(
            "a while loop contains matrix products, which cannot be counted; use scan instead"
        )
    if name == "scan":
        return equation.params["length"] * sum(inner)
    return max(inner) if name == "cond" else sum(inner)


def _sub_jaxprs(params: dict[str, Any]) -> list[core.Jaxpr]:
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def _dot_general(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    summed = math.prod(left[axis] for axis in contracted)
    return 2 * summed * math.prod(equation.outvars[0].aval.shape)


def _convolution(equation: core.JaxprEqn) -> int:
    """Each output value is a sum over the kernel's window and the input channels."""
    kernel = equation.invars[1].aval.shape
    output_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // output_channels
