"""Switches off what libraries would send out or look up. Import this before any of them: they read it when imported."""

import logging
import os

OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "POSTHOG_DISABLED": "1",
    "MPLBACKEND": "Agg",
}
"""Environment variables and the values that keep a library quiet, whatever the environment said before."""

os.environ.update(OFF)
# Great Expectations tells of its temporary folders as soon as anybody listens.
logging.getLogger("great_expectations").setLevel(logging.WARNING)
