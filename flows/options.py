"""Options that several commands share."""

from typing import Annotated

import typer

Database = Annotated[str, typer.Option("--db", help="The OMOP database: duckdb:///FILE.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
