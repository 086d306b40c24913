"""Medians, quantiles, and how a curve grows."""
import math
import statistics


def quantile(values, share):
    """The value that so large a share of the values does not exceed, as one of them."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values):
    """Median, 90th percentile, largest, mean, and how many there are; None of nothing."""
    if not values:
        return None
    return {"median": statistics.median(values), "p90": quantile(values, 0.9), "max": max(values),
            "mean": statistics.fmean(values), "runs": len(values)}


def exponent(points):
    """The k of y ~ x^k that fits best, on both logarithmic scales; None where y touches zero."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(logs) < 2 or len(logs) < len(points):
        return None
    return statistics.linear_regression(*zip(*logs)).slope


def short(value):
    """A number as a reader wants it: three digits, and none of them for nothing."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 3)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
