"""Who may do what in PostgreSQL: three roles, made once by an administrator.

| role           | reads                                                          | writes |
|----------------|----------------------------------------------------------------|--------|
| blina_etl      | everything; owns the four schemas and their tables              | yes    |
| blina_research | all of `cdm` and `results`                                      | no     |
| blina_mapping  | all of `cdm`; `lineage.unmapped`, `lineage.rule`; `ledger.run`, `ledger.count` | no |

Nobody but blina_etl reads the FHIR ids (`lineage.resource`, `lineage.person_source`, `ledger.resource`). The roles may
log in, but have no password until the administrator sets one (`ALTER ROLE blina_research PASSWORD …`) or maps users to
them in pg_hba.conf. A person's own account may instead be made a member (`GRANT blina_research TO anna`): PostgreSQL
does not hand on `statement_timeout` to members, so set it on that account, too.
"""

import psycopg
from psycopg import sql

from etl.errors import CdmError
from etl.store import postgres_tables as tables
from etl.store.postgres_connection import Connection, connect, session_name, shown
from etl.store.postgres_errors import translated
from etl.store.postgres_layout import quoted
from etl.store.postgres_store import PostgresStore
from etl.store.sources import SCHEMAS

ETL, RESEARCH, MAPPING = "blina_etl", "blina_research", "blina_mapping"
ROLES: tuple[str, ...] = (ETL, RESEARCH, MAPPING)

READABLE: dict[str, tuple[str, ...]] = {RESEARCH: ("cdm", "results"), MAPPING: ("cdm",)}
"""The schemas of which a role reads every table, those to come included."""

READABLE_TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    MAPPING: (("lineage", "unmapped"), ("lineage", "rule"), ("ledger", "run"), ("ledger", "count"))
}
"""Single tables that a role reads besides; a table that is replaced keeps the rights on it."""


def role_statements(database: str, *, research_timeout_seconds: int = 300) -> list[str]:
    """The SQL that makes the roles, for a database of that name in which the schemas exist; it may be run again."""
    name = quoted(database)
    others = f"{RESEARCH}, {MAPPING}"
    statements = [
        *(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN"
            f" CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE; END IF; END $$"
            for role in ROLES
        ),
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {ETL}",
        f"GRANT CONNECT ON DATABASE {name} TO {others}",
        *(
            f"ALTER ROLE {role} IN DATABASE {name} SET default_transaction_read_only = on"
            for role in (RESEARCH, MAPPING)
        ),
        *(
            f"ALTER ROLE {role} IN DATABASE {name} SET statement_timeout = '{research_timeout_seconds}s'"
            for role in (RESEARCH, MAPPING)
        ),
    ]
    for schema in SCHEMAS:
        statements += [
            f"ALTER SCHEMA {schema} OWNER TO {ETL}",
            f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {others}",
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {others}",
        ]
    for role, schemas in READABLE.items():
        for schema in schemas:
            statements += [
                f"GRANT USAGE ON SCHEMA {schema} TO {role}",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {ETL} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}",
            ]
    for role, places in READABLE_TABLES.items():
        statements += [f"GRANT USAGE ON SCHEMA {schema} TO {role}" for schema in sorted({one[0] for one in places})]
        statements += [f"GRANT SELECT ON {quoted(*place)} TO {role}" for place in places]
    return statements


def create_roles(url: str, *, research_timeout_seconds: int = 300) -> None:
    """Makes the schemas where they are missing, the roles and their rights; run it again after an upgrade.

    `url` must be a superuser's (roles and ownership are the server's, not the database's). Raises CdmError when it is
    not, LockError while a run holds the database. All or nothing.
    """
    place = shown(url)
    PostgresStore(url, "create_roles").close()
    connection = connect(url, session_name("create_roles"))
    with connection, translated(place):
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        try:
            with connection.transaction():
                for statement in role_statements(str(row[0]), research_timeout_seconds=research_timeout_seconds):
                    connection.execute(statement.encode())
                _hand_over(connection)
        except psycopg.errors.InsufficientPrivilege:
            raise CdmError(f"{place}: only a superuser may make the roles") from None


def _hand_over(connection: Connection) -> None:
    """Makes blina_etl the owner of all tables, which it must be to replace them."""
    for schema, name in sorted(tables.existing(connection, SCHEMAS)):
        statement = sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(schema, name), sql.Identifier(ETL))
        connection.execute(statement)
