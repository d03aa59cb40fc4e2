"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Database = Annotated[
    str,
    typer.Option("--db", help="The OMOP database: duckdb:///FILE or postgresql://USER@HOST/NAME (PGPASSFILE holds)."),
]
LandedFolder = Annotated[
    Path | None,
    typer.Option("--landed", help="With PostgreSQL: the folder of this machine that keeps what was received."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
