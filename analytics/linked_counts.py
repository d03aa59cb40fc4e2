"""Counts of the result tables that add up, within a table and across tables, and what more must be hidden for it.

A sum is a set of cells, each with a factor, whose total a reader knows: it is another cell, or known anyway. A hidden
count is given away when all sums together leave one value only, or when what is hidden in one sum comes to fewer than
the minimum. Then the smallest shown count of that sum is hidden, too, until nothing is given away.

What this does not do: it does not use that counts are whole and not negative, beyond the sum of what is hidden.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from analytics.small_counts import RULES, Row, small
from analytics.statistics.proportions import ALL_SITES
from analytics.statistics.safety import AS_RECORDED
from analytics.statistics.survival import ALL_STRATA

Cell = tuple[str, int, str]
"""Table, place of the row, column. A table named `NOWHERE` holds what no table shows, such as a difference of two."""
Sum = dict[Cell, int]
Tables = Mapping[str, Sequence[Row]]
Hidden = dict[str, set[int]]
NOWHERE = ""
WHOLE_GROUP = "overall"
REPEATING = ("tests", "prediction", "sensitivity", "models", "rates", "classification")
"""Tables that say again, with more, what others count: a row is hidden there first."""
_GRADES = ("0", "1", "2", "3", "4", "5")


class Sums:
    """The sums of the tables that hold in them; `value` of each cell, `nowhere` included."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.nowhere: list[int] = []
        self.all: list[Sum] = []
        for rule in _RULES:
            rule(self)

    def value(self, cell: Cell) -> int | None:
        """The count of the cell; None where the table has none."""
        table, place, column = cell
        return self.nowhere[place] if table == NOWHERE else self.tables[table][place][column]

    def find(self, table: str, column: str, **wanted: object) -> list[Cell]:
        """The cells of this column in the rows of the table that hold these values."""
        rows = enumerate(self.tables.get(table, ()))
        return [(table, i, column) for i, row in rows if all(row[name] == value for name, value in wanted.items())]

    def known(self, *cells: Cell) -> None:
        """The total of these cells is known to everybody."""
        if cells and all(self.value(cell) is not None for cell in cells):
            self.all.append(dict.fromkeys(cells, 1))

    def equal(self, parts: Iterable[Cell], whole: Iterable[Cell]) -> None:
        """The parts come to the first cell of `whole`, if they do; an empty side says nothing."""
        cells, total = list(parts), list(whole)[:1]
        values = [self.value(cell) for cell in (*cells, *total)]
        if not cells or not total or any(value is None for value in values):
            return
        if sum(values[:-1]) == values[-1]:  # type: ignore[arg-type]  # no None is left
            self.all.append({**dict.fromkeys(cells, 1), total[0]: -1})

    def apart(self, larger: Iterable[Cell], smaller: Iterable[Cell]) -> None:
        """The difference of two cells counts somebody, too: those who are in one and not in the other."""
        for one, other in zip(larger, smaller, strict=False):
            first, second = self.value(one), self.value(other)
            if first is not None and second is not None:
                self.nowhere.append(abs(first - second))
                if first == second:  # nobody is between them, as a reader will guess
                    self.all.append({one: 1, other: -1})
                    continue
                self.all.append({one: 1, other: -1, (NOWHERE, len(self.nowhere) - 1, ""): -1 if first > second else 1})


def _parts(rows: Sequence[Row], *names: str) -> Iterator[list[tuple[int, Row]]]:
    found: dict[tuple[object, ...], list[tuple[int, Row]]] = {}
    for i, row in enumerate(rows):
        found.setdefault(tuple(row[name] for name in names), []).append((i, row))
    yield from found.values()


def _attrition(sums: Sums) -> None:
    rows = sums.tables.get("attrition", ())
    for (i, before), (j, row) in pairwise(enumerate(rows)):
        if before["unit"] == row["unit"]:
            sums.equal([("attrition", j, "n"), ("attrition", j, "excluded")], [("attrition", i, "n")])
    pairs, full = sums.find("attrition", "n", step="IMM"), sums.find("attrition", "n", step="FAS")
    sums.equal([*pairs, *sums.find("attrition", "excluded", step="IMM")], full)
    sums.equal(sums.find("paired", "n_pairs", analyte="CD3"), pairs)


def _baseline(sums: Sums) -> None:
    rows = sums.tables.get("baseline", ())
    for part in _parts(rows, "variable", "group"):
        sums.known(*(("baseline", i, "n") for i, row in part if row["level"] is not None))
    for part in _parts(rows, "variable", "level"):
        for column in ("n", "missing", "denominator"):
            groups = [("baseline", i, column) for i, row in part if row["group"] != WHOLE_GROUP]
            sums.equal(groups, [("baseline", i, column) for i, row in part if row["group"] == WHOLE_GROUP])
    for i, row in enumerate(rows):
        if row["missing"] is not None and row["denominator"] is not None and row["level"] is not None:
            sums.known(("baseline", i, "denominator"), ("baseline", i, "missing"))


def _classification(sums: Sums) -> None:
    rows = sums.tables.get("classification", ())
    sums.known(*(("classification", i, "n") for i in range(len(rows))))
    for name, variable in (("indication", "indication"), ("state", "pre_course1_state"), ("stratum", "km_stratum")):
        for part in _parts(rows, name):
            shown = sums.find("baseline", "n", variable=variable, level=part[0][1][name], group=WHOLE_GROUP)
            sums.equal([("classification", i, "n") for i, _ in part], shown)
    for name, variable in (("state", "pre_course1_state"), ("stratum", "km_stratum")):
        for part in _parts(rows, "indication", name):
            row = part[0][1]
            shown = sums.find("baseline", "n", variable=variable, level=row[name], group=row["indication"])
            sums.equal([("classification", i, "n") for i, _ in part], shown)
    for i, row in enumerate(sums.tables.get("survival_summary", ())):
        sizes = sums.find("baseline", "n", variable="km_stratum", level=row["stratum"], group=WHOLE_GROUP)
        sums.equal([("survival_summary", i, "n")], sizes)


def _exposure(sums: Sums) -> None:
    for part in _parts(sums.tables.get("exposure", ()), "variable"):
        counted = [(i, row) for i, row in part if row["value"] is None]
        levels = [("exposure", i, "n") for i, row in counted if row["level"] != "missing"]
        missing = [("exposure", i, "n") for i, row in counted if row["level"] == "missing"]
        if len(levels) > 1:
            sums.known(*levels)
        for i, row in counted:
            if missing and row["level"] != "missing":
                sums.known(("exposure", i, "denominator"), *missing)
        if counted and counted[0][1]["variable"] == "courses per patient" and not missing:
            sums.all.append({("exposure", i, "n"): int(row["level"]) for i, row in counted})


def _response(sums: Sums) -> None:
    rows = sums.tables.get("response", ())
    for part in _parts(rows, "analysis_id", "group"):
        for column in ("k", "n"):
            sites = [("response", i, column) for i, row in part if row["site"] != ALL_SITES]
            sums.equal(sites, [("response", i, column) for i, row in part if row["site"] == ALL_SITES])
    pairs = (("A2", "A2-complete-case"), ("A3-first-course", "A3-course1"), ("A3-first-course", "A3-all-courses"))
    for more, fewer in pairs:
        for i, row in enumerate(rows):
            if row["analysis_id"] == more:
                same = {"analysis_id": fewer, "group": row["group"], "site": row["site"]}
                for column in ("k", "n"):
                    sums.apart([("response", i, column)], sums.find("response", column, **same))
    for group, analysis in (("RR", "A2"), ("MRDpos", "A2"), ("MRDneg", "A3")):
        _same_response(sums, group, {"analysis_id": analysis, "group": group, "site": ALL_SITES})
    both = [c for g in ("RR", "MRDpos") for c in sums.find("response", "k", analysis_id="A2", group=g, site=ALL_SITES)]
    sums.equal(both, sums.find("tests", "events", analysis_id="A2"))
    both = [c for g in ("RR", "MRDpos") for c in sums.find("response", "n", analysis_id="A2", group=g, site=ALL_SITES)]
    sums.equal(both, sums.find("tests", "n", analysis_id="A2"))


def _same_response(sums: Sums, group: str, wanted: dict[str, object]) -> None:
    """The same k of n in the sensitivity table, the pooled models, the predictions and the flow of states."""
    k, n = sums.find("response", "k", **wanted), sums.find("response", "n", **wanted)
    for i, row in enumerate(sums.tables.get("sensitivity", ())):
        if row["endpoint"] == "response" and row["stratum"] == group and row["quantity"] == "percent":
            sums.equal([("sensitivity", i, "events")], k)
            sums.equal([("sensitivity", i, "n")], n)
    for i, row in enumerate(sums.tables.get("models", ())):
        if row["outcome"] == f"response, {group}":
            sums.equal([("models", i, "events")], k)
            sums.equal([("models", i, "n")], n)
    for place in {cell[1] for cell in k}:
        population = sums.tables["response"][place]["population"]
        for i, row in enumerate(sums.tables.get("prediction", ())):
            if row["quantity"] == population:
                sums.equal([("prediction", i, "k")], k)
                sums.equal([("prediction", i, "n")], n)
    flows = [(i, row) for i, row in enumerate(sums.tables.get("state_flow", ())) if row["state_pre"] == group]
    sums.equal([("state_flow", i, "n") for i, _ in flows], n)
    sums.equal([("state_flow", i, "n") for i, row in flows if row["state_post"] == "MRDneg"], k)
    sums.equal([("state_flow", i, "n") for i, row in flows if row["state_post"] != "RR"], k)


def _state_flow(sums: Sums) -> None:
    rows = sums.tables.get("state_flow", ())
    sums.known(*(("state_flow", i, "n") for i in range(len(rows))))


def _safety(sums: Sums) -> None:
    for part in _parts(sums.tables.get("safety", ()), "event", "unit_of_analysis"):
        at = {row["grade"]: ("safety", i, "n") for i, row in part}
        event, unit = part[0][1]["event"], part[0][1]["unit_of_analysis"]
        if event.endswith(AS_RECORDED):
            continue
        grades = [at[grade] for grade in (*_GRADES, "ungraded") if grade in at]
        sums.known(*grades)
        anyone = [at[name] for name in ("any (>= 1)",) if name in at]
        severe = [at[name] for name in (">= 3",) if name in at]
        sums.equal([cell for cell in grades if cell != at.get("0")], anyone)
        sums.equal([at[grade] for grade in ("3", "4", "5") if grade in at], severe)
        for i, row in part:
            if "missing" in at and row["grade"] != "missing":
                sums.known(("safety", i, "denominator"), at["missing"])
        if unit == "course":
            for name, cells in (("any (>= 1)", anyone), (">= 3", severe)):
                sums.equal(sums.find("rates", "events", event=event, grade=name), cells)


def _predictors(sums: Sums) -> None:
    columns = ("nonresponse_exposed", "response_exposed", "nonresponse_total", "response_total")
    for column in columns[:2]:
        both = [
            *sums.find("predictors", column, factor="bcr_abl1", coding="exclusive"),
            *sums.find("predictors", column, factor="other_poor", coding="exclusive"),
        ]
        sums.equal(both, sums.find("predictors", column, factor="poor_cytogenetics", coding="nested"))
        exclusive = sums.find("predictors", column, factor="bcr_abl1", coding="exclusive")
        sums.equal(exclusive, sums.find("predictors", column, factor="bcr_abl1", coding="nested"))


def _survival(sums: Sums) -> None:
    for i, row in enumerate(sums.tables.get("survival_summary", ())):
        same = {"endpoint": row["endpoint"], "stratum": row["stratum"]}
        of = [("survival_summary", i, "events")]
        for j, other in enumerate(sums.tables.get("survival_at", ())):
            if (other["endpoint"], other["stratum"]) == (row["endpoint"], row["stratum"]):
                sums.apart([("survival_at", j, "events")], of)
        if row["stratum"] == ALL_STRATA:
            sums.known(*of)  # tests and models say it, too
        for column in ("n", "events"):
            for cell in sums.find("sensitivity", column, analysis_id="primary", **same):
                sums.equal([cell], [("survival_summary", i, column)])
    for i, row in enumerate(sums.tables.get("survival_at", ())):
        at = {name: row[name] for name in ("endpoint", "stratum", "time")}
        sums.equal([("survival_at", i, "events")], sums.find("risk_table", "cumulative_events", **at))
    for i, row in enumerate(sums.tables.get("prediction", ())):
        endpoint, _, stratum = str(row["quantity"]).partition(" event-free at day 365, stratum ")
        at = {"endpoint": endpoint, "stratum": stratum, "time": 365.0}
        sums.equal([("prediction", i, "k"), *sums.find("survival_at", "events", **at)], [("prediction", i, "n")])
        sums.equal([("prediction", i, "n")], sums.find("survival_at", "n", **at))


_RULES: tuple[Callable[[Sums], None], ...] = (
    _attrition, _baseline, _classification, _exposure, _response, _state_flow, _safety, _predictors, _survival,
)  # fmt: skip


def also_hidden(tables: Tables, hidden: Hidden, minimum: int) -> Hidden:
    """`hidden` (places of rows by table) with the rows without which the sums would give a hidden count away."""
    sums = Sums(tables)
    done = {name: set(places) for name, places in hidden.items()}
    while True:
        victims = {_smallest(sums, found, done) for found in _few(sums, done, minimum)} - {None}
        if not victims:
            victims = {_smallest(sums, found, done) for found in _determined(sums, done, minimum)} - {None}
        if not victims:
            return done
        for table, place, _ in victims:  # type: ignore[misc]  # no None is left
            done.setdefault(table, set()).add(place)


def _is_hidden(cell: Cell, hidden: Hidden) -> bool:
    return cell[0] == NOWHERE or cell[1] in hidden.get(cell[0], ())


def _few(sums: Sums, hidden: Hidden, minimum: int) -> Iterator[list[Sum]]:
    """The sums in which what is hidden comes to fewer than the minimum together."""
    for each in sums.all:
        counted = [cell for cell in each if _is_hidden(cell, hidden) and sums.value(cell)]
        one_side = len({each[cell] > 0 for cell in counted}) == 1
        if one_side and small(sum(sums.value(cell) or 0 for cell in counted), minimum):
            yield [each]


def _determined(sums: Sums, hidden: Hidden, minimum: int) -> Iterator[list[Sum]]:
    """The sums of each hidden count for which all sums together leave one value only."""
    unknown = [{cell: f for cell, f in each.items() if _is_hidden(cell, hidden)} for each in sums.all]
    for part in _connected([each for each in unknown if each]):
        for cell in _solved(part):
            if _is_secret(sums, cell, minimum):
                yield [each for each in sums.all if cell in each]


def _is_secret(sums: Sums, cell: Cell, minimum: int) -> bool:
    """Whether the count is small or leaves few others; other cells of a hidden row may be known."""
    table, place, column = cell
    if small(sums.value(cell), minimum) or table == NOWHERE:
        return small(sums.value(cell), minimum)
    row = sums.tables[table][place]
    wholes = [row[whole] for part, whole in RULES[table].complements if part == column]
    return any(whole is not None and small(whole - row[column], minimum) for whole in wholes)


def _connected(equations: list[Sum]) -> list[list[Sum]]:
    """The equations in groups that share no cell."""
    groups: list[tuple[set[Cell], list[Sum]]] = []
    for each in equations:
        cells, members = set(each), [each]
        apart = []
        for group in groups:
            if group[0].isdisjoint(cells):
                apart.append(group)
            else:
                cells |= group[0]
                members += group[1]
        groups = [*apart, (cells, members)]
    return [members for _, members in groups]


def _solved(equations: list[Sum]) -> list[Cell]:
    """The cells for which the equations leave one value only: alone in a row of the reduced equations."""
    rows = [{cell: Fraction(factor) for cell, factor in each.items()} for each in equations]
    reduced: dict[Cell, dict[Cell, Fraction]] = {}
    for row in rows:
        for pivot in [cell for cell in row if cell in reduced]:
            _subtract(row, reduced[pivot], row.get(pivot, Fraction(0)))
        if row:
            pivot = min(row)
            scaled = {cell: factor / row[pivot] for cell, factor in row.items()}
            for other in reduced.values():
                _subtract(other, scaled, other.get(pivot, Fraction(0)))
            reduced[pivot] = scaled
    return sorted(cell for cell, row in reduced.items() if len(row) == 1)


def _subtract(row: dict[Cell, Fraction], other: Mapping[Cell, Fraction], factor: Fraction) -> None:
    """Takes `factor` times the other row from the row, in place; cells that become 0 go."""
    if factor:
        for cell, value in other.items():
            left = row.get(cell, Fraction(0)) - factor * value
            if left:
                row[cell] = left
            else:
                row.pop(cell, None)


def _smallest(sums: Sums, among: list[Sum], hidden: Hidden) -> Cell | None:
    """The shown cell with the smallest count above 0 of the sums, in repeating tables first, parts before totals."""
    shown = [
        (cell[0] not in REPEATING, factor < 0, sums.value(cell) or 0, cell)
        for each in among
        for cell, factor in each.items()
        if not _is_hidden(cell, hidden) and sums.value(cell)
    ]
    return min(shown)[-1] if shown else None
