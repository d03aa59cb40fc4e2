"""Writes the public data sets of lifelines that r_values.R reads: `python write_datasets.py FOLDER`."""

import sys
from pathlib import Path

from lifelines import datasets

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
datasets.load_rossi().to_csv(folder / "rossi.csv", index=False)
datasets.load_lung().to_csv(folder / "lung.csv", index=False)
datasets.load_larynx().to_csv(folder / "larynx.csv", index=False)
datasets.load_stanford_heart_transplants().to_csv(folder / "stanford.csv", index=False)
