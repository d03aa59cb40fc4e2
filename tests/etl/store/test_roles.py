"""The matrix of roles: what each may do with every table of every schema."""

import psycopg
import pytest
from databases import Database
from small_build import make_work, run

from etl.errors import CdmError
from etl.store import open_store
from etl.store.roles import ETL, MAPPING, READABLE, READABLE_TABLES, RESEARCH, ROLES, create_roles

SECRET = "role-secret"
WRITES = {
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "DROP": "DROP TABLE {table}",
    "INDEX": "CREATE INDEX ON {table} (({table} IS NULL))",
}


def url_of(role: str, database: Database) -> str:
    return f"postgresql://{role}:{SECRET}@{database.url.rpartition('@')[2]}"


@pytest.fixture
def guarded(postgres: Database) -> Database:
    """A filled database with the roles, a result table made by the ETL, and one table of somebody else."""
    create_roles(postgres.url)
    for role in ROLES:
        postgres.execute(f"ALTER ROLE {role} PASSWORD '{SECRET}'")
    with open_store(url_of(ETL, postgres)) as store:
        store.replace(make_work(), run("r1"))
        store.replace(make_work(persons=3), run("r2"))  # tables were exchanged: the rights must have come along
    with psycopg.connect(url_of(ETL, postgres)) as connection:
        connection.execute("CREATE TABLE results.response AS SELECT 1 AS n")
    postgres.execute("CREATE SCHEMA other; CREATE TABLE other.private AS SELECT 1 AS n; CREATE TABLE public.x (n int)")
    return postgres


def tables_of(database: Database) -> list[tuple[str, str]]:
    return database.read(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
    )


def may(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ WRITE")  # anybody can: the rights must hold without it
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("role", [RESEARCH, MAPPING])
def test_a_reading_role_reads_its_tables_and_nothing_else_and_writes_nothing(role: str, guarded: Database) -> None:
    tables = tables_of(guarded)
    assert {"cdm", "lineage", "ledger", "results", "other", "public"} == {schema for schema, _ in tables}
    with psycopg.connect(url_of(role, guarded), autocommit=True) as connection:
        reads = {table for table in tables if may(connection, 'SELECT * FROM {}."{}"'.format(*table))}
        writes = {
            (kind, table)
            for table in tables
            for kind, statement in WRITES.items()
            if may(connection, statement.format(table='{}."{}"'.format(*table)))
        }
        for forbidden in ("CREATE SCHEMA mine", "CREATE TABLE public.mine (n int)", "CREATE TABLE results.mine (n int)",
                          "CREATE TEMPORARY TABLE mine (n int)", f"SET ROLE {ETL}", "CREATE ROLE mine",
                          "COPY cdm.person TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')"):  # fmt: skip
            assert not may(connection, forbidden), forbidden
    expected = {one for one in tables if one[0] in READABLE[role]} | set(READABLE_TABLES.get(role, ()))
    assert reads == expected
    assert not writes


def test_the_research_role_sees_no_table_with_fhir_ids(guarded: Database) -> None:
    with psycopg.connect(url_of(RESEARCH, guarded), autocommit=True) as connection:
        for table in ("lineage.resource", "lineage.person_source", "ledger.resource", "ledger.file"):
            assert not may(connection, f"SELECT * FROM {table}")
        assert may(connection, "SELECT person_id FROM cdm.person")


def test_readers_have_a_time_limit_and_the_etl_has_none(postgres: Database) -> None:
    create_roles(postgres.url, research_timeout_seconds=7)
    limits = {}
    for role in ROLES:
        postgres.execute(f"ALTER ROLE {role} PASSWORD '{SECRET}'")
        with psycopg.connect(url_of(role, postgres)) as connection:
            row = connection.execute("SHOW statement_timeout").fetchone()
            limits[role] = row and row[0]
    assert limits == {ETL: "0", RESEARCH: "7s", MAPPING: "7s"}


def test_a_member_of_the_etl_role_builds_tables_that_the_role_owns(guarded: Database) -> None:
    guarded.execute(
        f"DROP ROLE IF EXISTS nightly; CREATE ROLE nightly LOGIN PASSWORD '{SECRET}'; GRANT {ETL} TO nightly"
    )
    try:
        with open_store(url_of("nightly", guarded)) as store:
            store.replace(make_work(persons=4), run("r3"))
        owners = guarded.read(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('cdm', 'lineage', 'ledger')"
        )
    finally:
        guarded.execute("DROP ROLE nightly")
    assert owners == [(ETL,)]


def test_a_reading_role_cannot_run_the_etl_and_is_told_why(guarded: Database) -> None:
    with pytest.raises(CdmError, match="read-only for this user") as caught:
        open_store(url_of(RESEARCH, guarded))
    assert SECRET not in str(caught.value)
    guarded.execute(f"REVOKE CREATE ON DATABASE {guarded.url.rpartition('/')[2]} FROM {ETL}")
    with pytest.raises(CdmError, match="lacks the rights"):
        open_store(url_of(ETL, guarded))


def test_roles_may_be_made_again_and_only_by_a_superuser(guarded: Database) -> None:
    create_roles(guarded.url)
    with pytest.raises(CdmError, match="superuser"):
        create_roles(url_of(ETL, guarded))
