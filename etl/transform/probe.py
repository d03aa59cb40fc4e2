"""What there is to do: which rules, references and partial dates the resources of a run ask for.

Most rules find nothing in a night's changes. Planning a statement costs more than running it on nothing, so one query
asks what is there, and only what can give a row is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from etl.transform.concepts import Route, route_of
from etl.transform.plan import RulePlan
from etl.transform.stage import Stage
from etl.transform.write import own_reference


@dataclass(frozen=True)
class Found:
    """How many resources have what, by stage table and name; `everything` runs all there is, to see whether it runs."""

    counts: dict[tuple[str, str], int]
    everything: bool

    def any(self, stage: Stage, name: str) -> bool:
        """Whether any resource that goes on has it; of "parts", any resource."""
        return self.everything or self.counts.get((stage.table, name), 0) > 0

    def fires(self, stage: Stage, plan: RulePlan, routes: dict[Route, int], routed: set[int]) -> bool:
        """Whether a rule can give a row: resources that it is for, elements, and codes that lead to its domains."""
        if self.everything:
            return True
        if not self.any(stage, f"each {plan.each}" if plan.each else f"rule {plan.rule.name}"):
            return False
        route = route_of(plan)
        if route is None or routes[route] in routed:
            return True
        return route.unmapped and (plan.each is not None or self.any(stage, f"none {plan.rule.concept}"))

    def unlisted(self, stage: Stage, plan: RulePlan) -> bool:
        """Whether a rule meets a code that its short list lacks, so that the site's code map must be asked."""
        return bool(plan.unlisted) and (plan.each is not None or self.any(stage, f"unlisted {plan.rule.name}"))

    def partial(self, stages: Sequence[Stage]) -> set[tuple[str, str]]:
        """(stage table, field) pairs in which a date is known to the year or month only, or a time lacks an offset."""
        return {
            (stage.table, name.removeprefix("partial "))
            for stage in stages
            for name in _asked(stage)
            if name.startswith("partial ") and self.any(stage, name)
        }


def look(work: duckdb.DuckDBPyConnection, stages: Sequence[Stage], *, everything: bool) -> Found:
    """Counts what the resources of all types have, in one pass over each."""
    asked: list[tuple[Stage, dict[str, str], str]] = []
    for stage in stages:
        tests = _asked(stage)
        asked.append((stage, tests, stage.narrow("s.n", *tests.values())))
        own = own_reference(stage)
        if own:  # a resource that goes no further still says what it is part of: what refers to it counts to its whole
            asked.append((stage, {"parts": f's."rk_{own}" IS NOT NULL'}, stage.keys))
    selects = [
        f"SELECT {number} AS number, [{', '.join(f'count(*) FILTER ({test})' for test in tests.values())}] AS found "
        f"FROM {source} s"
        for number, (_, tests, source) in enumerate(asked)
    ]
    counts: dict[tuple[str, str], int] = {}
    for number, found in work.execute(" UNION ALL ".join(selects)).fetchall() if selects else []:
        stage, tests, _ = asked[number]
        counts |= {(stage.table, name): n for name, n in zip(tests, found, strict=True)}
    return Found(counts, everything)


def _asked(stage: Stage) -> dict[str, str]:
    """The questions asked of each resource (SQL in terms of `s`), by name."""
    tests = {"kept": "true"}
    for plan in stage.plan.rules:
        if plan.each:
            tests[f"each {plan.each}"] = f'len(s."{plan.each}") > 0'
            continue
        tests[f"rule {plan.rule.name}"] = plan.when or "true"
        if plan.unlisted:
            tests[f"unlisted {plan.rule.name}"] = " OR ".join(one.test for one in plan.unlisted)
        concept = plan.concepts.get(plan.rule.concept or "")
        if concept and plan.rule.unmapped:
            tests[f"none {concept.name}"] = f's."{concept.key}" IS NULL'
    for plan in stage.plan.rules:
        for field, source in plan.precisions.values():
            tests[f"partial {field}"] = f"length({source}) < 10 OR fhir_without_zone({source})"
    if "noted" in stage.plan.expressions:
        tests["noted"] = "len(s.noted) > 0"
    return tests
