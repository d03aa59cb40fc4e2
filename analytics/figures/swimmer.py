"""F2: swimmer plot: one lane per patient, courses as bars, marrows, transplants and events as signs."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
from matplotlib.axes import Axes

from analytics.figures.canvas import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    RULE,
    VERMILION,
    Drawing,
    board,
    export,
    style,
)
from analytics.figures.wording import count, in_order, months, plural, word

_NAME = "swimmer"
_LANE, _GAP = 0.082, 1.6


class Sign(NamedTuple):
    """How a kind of record is drawn: matplotlib's marker, colour, filling, and the words of the key."""

    marker: str
    colour: str
    fill: str
    words: str


_SIGNS = {
    "MRDneg": Sign("o", BLUE, PAPER, "Marrow MRD-negative"),
    "MRDpos": Sign("o", ORANGE, ORANGE, "Marrow MRD-positive"),
    "RR": Sign("o", VERMILION, VERMILION, "Marrow with ≥ 5% blasts"),
    "marrow": Sign("o", MUTED, PAPER, "Marrow, level unknown"),
    "hsct": Sign("^", GREEN, GREEN, "HSCT"),
    "cart": Sign("s", PURPLE, PURPLE, "CAR-T"),
    "event": Sign("D", VERMILION, PAPER, "EFS event other than death"),
    "death": Sign("X", INK, INK, "Death"),
    "last_contact": Sign(">", MUTED, MUTED, "Last contact, alive"),
}
_BARS = {"course": (BLUE, "Course"), "interruption": (ORANGE, "Interruption")}
_MARROW = {"neg": "MRDneg", "pos": "MRDpos", "rr": "RR", "blast": "RR", "m2": "RR", "m3": "RR"}


def sign_of(kind: str, label: str | None) -> str:
    """The key of a record: a marrow by what it showed, every other kind by itself."""
    plain = kind.lower().replace("-", "_")
    if plain in ("marrow", "mrd"):
        said = (label or "").lower()
        return next((sign for part, sign in _MARROW.items() if part in said), "marrow")
    return {"relapse": "event", "refractory": "event", "second_malignancy": "event", "car_t": "cart"}.get(plain, plain)


def draw_swimmer(swimmer: pl.DataFrame) -> Drawing:
    """Lanes of the table swimmer (lane, stratum, kind, start_day, end_day, label), blocks by stratum, days as months.

    Lanes are running numbers without meaning; the table says their order.
    """
    strata = in_order(swimmer["stratum"].to_list())
    places, heads, bottom = _places(swimmer, strata)
    records = [{**row, "sign": sign_of(str(row["kind"]), row["label"])} for row in swimmer.to_dicts()]
    height = _LANE * bottom + 1.5
    with style(_NAME):
        figure = board(8.2, height)
        axes = figure.add_axes((0.13, 0.5 / height, 0.84, _LANE * bottom / height))
        last = max(float(r["end_day"] if r["end_day"] is not None else r["start_day"]) for r in records)
        first = min(0.0, *(float(r["start_day"]) for r in records))
        axes.set_ylim(bottom, -1)
        axes.set_xlim(first - 6, last + 18)
        for place, name, n in heads:
            axes.annotate(
                f"{name}\nn = {count(n)}",
                (0, place),
                (-8, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="top",
                annotation_clip=False,
            )
        _draw_lanes(axes, records, places)
        ticks = [day for day in (0, 182, 365, 547, 730, 912, 1095, 1460, 1825) if day <= last]
        axes.set_xticks(ticks, [months(day) for day in ticks])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Months since the first infusion of course 1")
        used = [sign for sign in (*_BARS, *_SIGNS) if any(r["sign"] == sign for r in records)]
        _key(figure.add_axes((0.02, 1 - 0.85 / height, 0.97, 0.8 / height)), used)
        return export(figure, _NAME, "Courses, marrows and events of each patient", describe(swimmer))


def describe(swimmer: pl.DataFrame) -> str:
    """The alternative text: lanes and records by stratum, in counts."""
    parts = []
    for stratum in in_order(swimmer["stratum"].to_list()):
        rows = swimmer.filter(pl.col("stratum") == stratum).to_dicts()
        signs = [sign_of(str(row["kind"]), row["label"]) for row in rows]
        said = [f"{_words(sign).lower()} {count(signs.count(sign))}" for sign in dict.fromkeys(signs)]
        parts.append(f"{word(stratum)}, {plural(len({row['lane'] for row in rows}), 'patient')}: {', '.join(said)}")
    return f"One lane per patient. {'; '.join(parts)}."


def _words(sign: str) -> str:
    return _BARS[sign][1] if sign in _BARS else _SIGNS[sign].words if sign in _SIGNS else word(sign)


def _places(
    swimmer: pl.DataFrame, strata: Sequence[str]
) -> tuple[dict[object, float], list[tuple[float, str, int]], float]:
    """Where each lane stands, the heads of the blocks, and the lower end."""
    places: dict[object, float] = {}
    heads = []
    at = 0.0
    for stratum in strata:
        lanes = swimmer.filter(pl.col("stratum") == stratum)["lane"].unique(maintain_order=True).to_list()
        heads.append((at - 0.5, word(stratum), len(lanes)))
        for lane in lanes:
            places[lane] = at
            at += 1
        at += max(_GAP, 4.5 - len(lanes))  # a short block still has room for its two-line head
    return places, heads, at


def _draw_lanes(axes: Axes, records: Sequence[dict[str, object]], places: dict[object, float]) -> None:
    ends: dict[object, float] = {}
    for row in records:
        end = row["end_day"] if row["end_day"] is not None else row["start_day"]
        ends[row["lane"]] = max(ends.get(row["lane"], 0.0), float(str(end)))
    for lane, end in ends.items():
        axes.plot([0, end], [places[lane]] * 2, color=RULE, linewidth=1, zorder=1)
    for kind, (colour, _) in _BARS.items():
        for row in (r for r in records if r["sign"] == kind):
            start, end = (
                float(str(row["start_day"])),
                float(str(row["end_day"] if row["end_day"] is not None else row["start_day"])),
            )
            width, thick = (max(end - start, 1), 0.62) if kind == "course" else (max(end - start, 6), 1.0)
            axes.barh(places[row["lane"]], width, thick, start, color=colour, linewidth=0, zorder=2)
    for name, sign in _SIGNS.items():
        chosen = [r for r in records if r["sign"] == name]
        axes.plot(
            [float(str(r["start_day"])) for r in chosen],
            [places[r["lane"]] for r in chosen],
            sign.marker,
            color=sign.colour,
            markerfacecolor=sign.fill,
            markersize=4.4 if name in ("hsct", "cart", "event", "death") else 3.4,
            markeredgewidth=0.8,
            linestyle="none",
            zorder=4 if name == "death" else 3,
        )


def _key(axes: Axes, used: Sequence[str]) -> None:
    axes.set_xlim(0, 4)
    axes.set_ylim(3, 0)
    axes.set_axis_off()
    for index, name in enumerate(used):
        x, y = index % 4 if index % 4 < 4 else 0, index // 4 + 0.5
        if name in _BARS:
            axes.barh(y, 0.12, 0.3, x, color=_BARS[name][0], linewidth=0)
        else:
            sign = _SIGNS[name]
            axes.plot([x + 0.06], [y], sign.marker, color=sign.colour, markerfacecolor=sign.fill, markersize=5)
        axes.text(x + 0.18, y, _words(name), va="center", size=8.5)
