"""Firth's bias-reduced logistic and Cox models by `firthmodels`, with profile-likelihood intervals and LR tests.

Traps held here (PROTOCOL section 9): the default interval is Wald, so the method is always named; `lrt()` has to run
before its P values exist; the logistic results carry the intercept last; a factor without variation is not fitted.
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from firthmodels import FirthCoxPH, FirthLogisticRegression
from scipy.linalg import LinAlgError

from analytics.statistics.frames import Flags, Floats, usable

Outcome = np.ndarray[tuple[int], np.dtype[Any]]

NO_VARIATION = "not estimable: the factor does not vary"


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One fitted factor on the log scale; None where it could not be estimated, and why in `note`."""

    name: str
    coef: float | None = None
    lower: float | None = None
    upper: float | None = None
    se: float | None = None
    p: float | None = None
    n: int = 0
    events: int = 0
    note: str | None = None

    @property
    def ratio(self) -> float | None:
        """Odds or hazard ratio."""
        return _exp(self.coef)

    @property
    def ratio_lower(self) -> float | None:
        """Lower limit of the ratio."""
        return _exp(self.lower)

    @property
    def ratio_upper(self) -> float | None:
        """Upper limit of the ratio; None when it is not finite."""
        return _exp(self.upper)


def _exp(value: float | None) -> float | None:
    if value is None or not math.isfinite(value) or value > 700:
        return None
    return math.exp(value)


def _fit_terms(
    model: FirthLogisticRegression | FirthCoxPH, x: Floats, y: Outcome, names: Sequence[str], n: int, events: int,
    confidence: float,
) -> list[Term]:  # fmt: skip
    """Fit, profile-likelihood interval, LR test; the library's convergence warnings end in the note, not on screen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)  # what its ConvergenceWarning is
        warnings.simplefilter("always", RuntimeWarning)
        try:
            model.fit(x, y)
            model.lrt()
            limits = model.conf_int(alpha=1 - confidence, method="pl")
        except (LinAlgError, np.linalg.LinAlgError):
            return [Term(name, n=n, events=events, note="not estimable: factors collinear") for name in names]
        except ValueError:  # firthmodels refuses more parameters than observations
            return [Term(name, n=n, events=events, note="not estimable: too few persons") for name in names]
    note = "; ".join(sorted({str(w.message) for w in caught})) or None
    count = len(names)  # anything after that is the intercept
    return [
        Term(name, float(model.coef_.ravel()[i]), float(limits[i, 0]), float(limits[i, 1]), float(model.bse_[i]),
             float(model.lrt_pvalues_[:count][i]), n, events, note)
        for i, name in enumerate(names)
    ]  # fmt: skip


def _split(frame: pl.DataFrame, names: Sequence[str], n: int, events: int) -> tuple[list[str], dict[str, Term]]:
    fixed = {name: Term(name, n=n, events=events, note=NO_VARIATION) for name in names if frame[name].n_unique() < 2}
    return [name for name in names if name not in fixed], fixed


def firth_logistic(
    frame: pl.DataFrame, outcome: str, names: Sequence[str], *, failure: int = 1, confidence: float = 0.95
) -> list[Term]:
    """Odds of `outcome == failure` on 0/1 columns; rows with any missing value are left out."""
    known = frame.drop_nulls([outcome, *names])
    y = (known[outcome] == failure).to_numpy().astype(np.int64)
    n, events = known.height, int(y.sum())
    free, fixed = _split(known, names, n, events)
    if not free or events in (0, n):
        return [fixed.get(name, Term(name, n=n, events=events, note="not estimable: no events")) for name in names]
    x = known.select(free).to_numpy().astype(np.float64)
    fitted = _fit_terms(FirthLogisticRegression(backend="numpy"), x, y, free, n, events, confidence)
    terms = fixed | {term.name: term for term in fitted}
    return [terms[name] for name in names]


def survival_y(time: Floats, event: Flags) -> Outcome:
    """Event and time as the structured array that firthmodels wants."""
    y = np.empty(len(time), dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = event, time
    return y


def firth_cox(patients: pl.DataFrame, endpoint: str, names: Sequence[str], *, confidence: float = 0.95) -> list[Term]:
    """Hazard of the endpoint ("EFS"/"OS") on 0/1 columns; rows with any missing value are left out."""
    known = usable(patients, endpoint).drop_nulls(list(names))
    n, events = known.height, int(known["event"].sum())
    free, fixed = _split(known, names, n, events)
    if not free or not events:
        return [fixed.get(name, Term(name, n=n, events=events, note="not estimable: no events")) for name in names]
    y = survival_y(known["time"].to_numpy(), known["event"].to_numpy())
    x = known.select(free).to_numpy().astype(np.float64)
    fitted = _fit_terms(FirthCoxPH(backend="numpy"), x, y, free, n, events, confidence)
    terms = fixed | {term.name: term for term in fitted}
    return [terms[name] for name in names]
