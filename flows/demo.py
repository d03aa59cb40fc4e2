"""The demonstration: the sample hospitals to a report, with the functions that every build uses."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etl.build_report import BuildReport
from etl.errors import SourceError
from etl.pipeline import STEPS as BUILD_STEPS
from etl.pipeline import build
from flows.instance import SETTINGS_FILE, find_instance
from flows.study_run import STUDY_STEPS, StudyRun, check_quality, run_study

SAMPLE = Path(__file__).resolve().parents[1] / "sample_bundles"
STEPS = (*BUILD_STEPS, "check the quality", *STUDY_STEPS)


@dataclass(frozen=True)
class Demo:
    """What the demonstration left, and where."""

    folder: Path
    build: BuildReport
    checks: dict[str, int]
    study: StudyRun

    def as_dict(self) -> dict[str, object]:
        """For `--json`: the build's counts, the checks, the study's counts and paths."""
        return {
            "build": self.build.as_dict(),
            "quality": self.checks,
            "study": self.study.as_dict(),
            "report": str(self.study.report),
        }

    def words(self) -> str:
        """The last lines of `make demo`; the last of all is the path of the report."""
        checks = ", ".join(f"{n:,} {status}" for status, n in self.checks.items())
        return "\n".join(
            [
                f"quality: {checks}; page: {self.folder / 'quality.html'}",
                f"database: {self.folder / 'omop.duckdb'}; result tables: {self.folder / 'results'}",
                self.study.words(),
            ]
        )


def run_demo(to: Path, progress: Callable[[str], None] = lambda _: None) -> Demo:
    """Bundles → DuckDB → checks → courses → report, all below `to`. Raises the errors of each step."""
    if not (SAMPLE / SETTINGS_FILE).is_file():
        raise SourceError(f"{SAMPLE}: the sample bundles are not here; the demo runs from a checkout of the project")
    to.mkdir(parents=True, exist_ok=True)
    database = f"duckdb:///{to / 'omop.duckdb'}"
    instance = find_instance([SAMPLE], site=None, settings=None, database=database)
    report = build(
        instance.sources,
        database=database,
        settings=instance.settings,
        rejects=to / "rejects",
        anew=True,  # the demonstration shows the bundles as they are now, whatever an earlier one was made of
        progress=progress,
    )
    progress("check the quality")
    verdict = check_quality(
        database,
        json_path=to / "quality.json",
        html_path=to / "quality.html",
        title=f"Quality of the CDM: {instance.settings.name}",
        run_id=report.run_id,
    )
    score = verdict.overall
    checks = {"passed": score.passed, "failed": score.failed, "not applicable": score.not_applicable}
    study = run_study(
        database,
        to / "results",
        report=to / "report.html",
        settings=instance.settings,
        synthetic=True,
        progress=progress,
    )
    return Demo(to, report, checks, study)
