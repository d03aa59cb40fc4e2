"""Figures of the study, drawn from its tidy result tables and from nothing else.

Every function takes result tables and gives back a `Drawing`: SVG to be put inline into a page, with its alternative
text. No figure reads a patient.
"""

from analytics.figures.attrition import draw_attrition
from analytics.figures.canvas import Drawing, with_pictures
from analytics.figures.cytokines import draw_cytokines
from analytics.figures.flow import draw_flow
from analytics.figures.forest import draw_forest, draw_site_forest
from analytics.figures.incidence import draw_incidence
from analytics.figures.mrd_change import draw_mrd_change
from analytics.figures.paired import draw_paired
from analytics.figures.replication import draw_replication, draw_site_replication
from analytics.figures.survival import draw_survival
from analytics.figures.swimmer import draw_swimmer
from analytics.figures.trajectory import draw_trajectory

__all__ = [
    "Drawing",
    "draw_attrition",
    "draw_cytokines",
    "draw_flow",
    "draw_forest",
    "draw_incidence",
    "draw_mrd_change",
    "draw_paired",
    "draw_replication",
    "draw_site_forest",
    "draw_site_replication",
    "draw_survival",
    "draw_swimmer",
    "draw_trajectory",
    "with_pictures",
]
